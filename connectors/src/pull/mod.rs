//! What an address on the web gives, as a batch that ends: `http_get('https://example.com/prices.csv')`.

mod fetch;
mod source;

pub use source::PullSource;

use crate::{
    records::packing,
    spec::{Argument, ArgumentKind},
};

pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "url",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "What is asked for: http:// or https://.",
        example: "'https://example.com/prices.csv'",
    },
    Argument {
        name: "token",
        kind: ArgumentKind::Secret,
        required: false,
        positional: false,
        help: "Sent as `Authorization: Bearer …`.",
        example: "secret('prices/token')",
    },
    Argument {
        name: "ca",
        kind: ArgumentKind::Text,
        required: false,
        positional: false,
        help: "A file of certificates (PEM) whose servers are trusted beside those that the system trusts.",
        example: "'company-ca.pem'",
    },
    Argument {
        name: "max_size",
        kind: ArgumentKind::Size,
        required: false,
        positional: false,
        help: "The most that is taken: 1 GiB, if not said.",
        example: "'4 GiB'",
    },
    Argument {
        name: "compression",
        kind: ArgumentKind::Choice(&packing::WORDS),
        required: false,
        positional: false,
        help: "`gzip`, `zstd` or `none`. Without it the ending of the name says: `.gz`, `.zst`.",
        example: "'gzip'",
    },
];
