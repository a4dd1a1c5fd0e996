//! The licence allow-list: everything that Falco builds on may be used by every user of Falco.

use anyhow::{Context, bail, ensure};
use spdx::{Expression, LicenseReq, ParseMode};

use crate::metadata::{Metadata, Package};

/// The licences that are allowed, wherever they come from.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Unicode-3.0",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
];

/// The licences that are allowed for one crate, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The Mozilla root certificates: data under a data licence, not linked code.
    ("webpki-root-certs", "CDLA-Permissive-2.0"),
    ("webpki-roots", "CDLA-Permissive-2.0"),
    // Parts of BoringSSL's ancestors: the OpenSSL licence asks for an acknowledgement only.
    ("aws-lc-sys", "OpenSSL"),
];

/// Checks every package of the tree, and that what is uploaded carries the text of its licence, as MIT asks for.
pub(crate) fn check(metadata: &Metadata) -> anyhow::Result<()> {
    for package in metadata.members().filter(|package| package.is_published) {
        let carries = package.folder.join("LICENSE").is_file();
        ensure!(carries, "{0} carries no licence: ln -s ../LICENSE {0}/LICENSE", package.name);
    }
    let mut refused = Vec::new();
    for package in &metadata.packages {
        if !is_allowed(package)? {
            let licence = package.licence.as_deref().unwrap_or("none");
            refused.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    bail!("licences that are not on the allow-list:\n  {}", refused.join("\n  "));
}

fn is_allowed(package: &Package) -> anyhow::Result<bool> {
    let Some(licence) = &package.licence else { return Ok(false) };
    let expression = Expression::parse_mode(licence, ParseMode::LAX)
        .with_context(|| format!("{} has the licence {licence:?}", package.name))?;
    Ok(expression.evaluate(|wanted| allows(&package.name, wanted)))
}

fn allows(package: &str, wanted: &LicenseReq) -> bool {
    let name = wanted.license.id().map(|id| id.name).unwrap_or_default();
    ALLOWED.contains(&name) || EXCEPTIONS.contains(&(package, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(name: &str, licence: Option<&str>) -> bool {
        is_allowed(&Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            is_member: false,
            is_published: true,
            platform: None,
            folder: "".into(),
            features: vec![],
            dependencies: vec![],
        })
        .unwrap()
    }

    #[test]
    fn one_allowed_alternative_is_enough_and_every_part_of_a_sum_is_needed() {
        assert!(allowed("a", Some("GPL-3.0-only OR MIT")));
        assert!(allowed("a", Some("MIT/Apache-2.0")));
        assert!(!allowed("a", Some("MIT AND GPL-3.0-only")));
        assert!(!allowed("a", None));
    }

    #[test]
    fn a_licence_exception_holds_for_its_crate_only() {
        assert!(allowed("aws-lc-sys", Some("ISC AND OpenSSL")));
        assert!(!allowed("other", Some("ISC AND OpenSSL")));
    }
}
