//! Partitions: parts of AWS with hosts, ARNs and an identity service of their own.

/// A part of AWS, found by the region's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The beginning of its ARNs, after `arn:`.
    pub(crate) name: &'static str,
    /// The ending of its hosts.
    pub(crate) suffix: &'static str,
    /// The host of IAM, which has one for the whole partition.
    pub(crate) iam_host: &'static str,
    /// The region that requests to IAM are signed for, wherever the function runs.
    pub(crate) iam_region: &'static str,
}

const AWS: Partition = Partition {
    name: "aws",
    suffix: "amazonaws.com",
    iam_host: "iam.amazonaws.com",
    iam_region: "us-east-1",
};

/// Longer prefixes first: `us-gov-` and `us-iso-` would match `us-` too.
const OTHERS: [(&str, Partition); 7] = [
    (
        "cn-",
        Partition {
            name: "aws-cn",
            suffix: "amazonaws.com.cn",
            iam_host: "iam.cn-north-1.amazonaws.com.cn",
            iam_region: "cn-north-1",
        },
    ),
    (
        "us-gov-",
        Partition {
            name: "aws-us-gov",
            suffix: "amazonaws.com",
            iam_host: "iam.us-gov.amazonaws.com",
            iam_region: "us-gov-west-1",
        },
    ),
    (
        "us-isob-",
        Partition {
            name: "aws-iso-b",
            suffix: "sc2s.sgov.gov",
            iam_host: "iam.us-isob-east-1.sc2s.sgov.gov",
            iam_region: "us-isob-east-1",
        },
    ),
    (
        "us-isof-",
        Partition {
            name: "aws-iso-f",
            suffix: "csp.hci.ic.gov",
            iam_host: "iam.us-isof-south-1.csp.hci.ic.gov",
            iam_region: "us-isof-south-1",
        },
    ),
    (
        "us-iso-",
        Partition {
            name: "aws-iso",
            suffix: "c2s.ic.gov",
            iam_host: "iam.us-iso-east-1.c2s.ic.gov",
            iam_region: "us-iso-east-1",
        },
    ),
    (
        "eu-isoe-",
        Partition {
            name: "aws-iso-e",
            suffix: "cloud.adc-e.uk",
            iam_host: "iam.eu-isoe-west-1.cloud.adc-e.uk",
            iam_region: "eu-isoe-west-1",
        },
    ),
    (
        "eusc-",
        Partition {
            name: "aws-eusc",
            suffix: "amazonaws.eu",
            iam_host: "iam.eusc-de-east-1.amazonaws.eu",
            iam_region: "eusc-de-east-1",
        },
    ),
];

impl Partition {
    /// The partition of a region; a region of no known partition is taken for one of `aws`.
    pub(crate) fn of(region: &str) -> Self {
        OTHERS
            .iter()
            .find(|(prefix, _)| region.starts_with(prefix))
            .map_or(AWS, |(_, partition)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_follows_from_the_region() {
        for (region, name, suffix) in [
            ("eu-central-1", "aws", "amazonaws.com"),
            ("mx-central-1", "aws", "amazonaws.com"),
            ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
            ("us-iso-west-1", "aws-iso", "c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
            ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ] {
            let partition = Partition::of(region);
            assert_eq!((partition.name, partition.suffix), (name, suffix), "{region}");
        }
    }
}
