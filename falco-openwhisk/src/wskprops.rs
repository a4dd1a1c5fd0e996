//! The file in which the `wsk` command line keeps its settings.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use falco_core::{Error, Result};
use falco_http::Secret;

/// The settings of a `.wskprops` file. `Debug` shows no value: one of them is the key.
#[derive(Default)]
pub(crate) struct WskProps {
    values: HashMap<String, Secret>,
    path: PathBuf,
}

impl WskProps {
    /// Reads the file that `wsk` would read: `WSK_CONFIG_FILE`, which hides the other even when it is empty, or
    /// `~/.wskprops`, which need not be there.
    pub(crate) fn find(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        match var("WSK_CONFIG_FILE") {
            Some(path) if path.is_empty() => Ok(Self::default()),
            Some(path) => Self::read(Path::new(&path))
                .map_err(|e| unreadable("WSK_CONFIG_FILE", Path::new(&path), &e)),
            None => {
                let Some(home) = var("HOME") else { return Ok(Self::default()) };
                let path = Path::new(&home).join(".wskprops");
                match Self::read(&path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
                    read => read.map_err(|e| unreadable("~/.wskprops", &path, &e)),
                }
            }
        }
    }

    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        // Its first key would have another name, and be missing.
        if text.starts_with('\u{feff}') {
            let reason = "it begins with a byte order mark (BOM); save it as UTF-8 without";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Self { values: parse(&text), path: path.to_owned() })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Secret> {
        self.values.get(name).filter(|value| !value.expose().is_empty()).cloned()
    }

    /// Where the file is, if it was found.
    pub(crate) fn path(&self) -> Option<&Path> {
        Some(&*self.path).filter(|path| !path.as_os_str().is_empty())
    }

    /// The client certificate and its key, one after the other, from the files that `CERT` and `KEY` name.
    pub(crate) fn client_certificate(&self) -> Result<Option<Secret>> {
        let (Some(certificate), Some(key)) = (self.get("CERT"), self.get("KEY")) else {
            if self.get("CERT").is_some() != self.get("KEY").is_some() {
                return Err(Error::invalid_input(format!(
                    "{} names one of CERT and KEY without the other",
                    self.path.display()
                )));
            }
            return Ok(None);
        };
        let read = |setting, path: &Secret| {
            let path = self.path.with_file_name(path.expose());
            std::fs::read_to_string(&path).map_err(|e| unreadable(setting, &path, &e))
        };
        Ok(Some(format!("{}\n{}", read("CERT", &certificate)?, read("KEY", &key)?).into()))
    }
}

fn unreadable(setting: &str, path: &Path, error: &io::Error) -> Error {
    Error::invalid_input(format!("{setting}: cannot read {}", path.display())).with_source(error)
}

/// One `KEY=VALUE` a line; `#` begins a comment. `wsk` itself loses a value that holds `=`; this does not.
fn parse(text: &str) -> HashMap<String, Secret> {
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(before, _)| before));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_nonsense_are_left_out() {
        let props = parse("# wsk\nAPIHOST = http://h:1 # local\r\n\nAUTH=u:k=\nnonsense\n");
        let value = |key: &str| props.get(key).map(|value| value.expose().to_owned());
        assert_eq!(value("APIHOST").as_deref(), Some("http://h:1"));
        assert_eq!(value("AUTH").as_deref(), Some("u:k="));
        assert_eq!(props.len(), 2);
    }
}
