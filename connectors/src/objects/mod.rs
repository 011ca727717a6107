//! Object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! A place is an address: `s3://bucket/trips/*.csv.gz`. Who asks is known from `store => s3(…)`, and for what that does not say from
//! the environment variables that the store's own tools read. Nothing is retried here: an error says what kind of trouble it is.

mod bucket;
mod shelf;
mod source;
mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod wait;

pub use bucket::{Bucket, Kind};
pub(crate) use bucket::{io_error, words};
pub use shelf::BucketShelf;
pub use source::ObjectSource;
pub(crate) use source::{found, means, tag};

use crate::spec::{Argument, ArgumentKind, Callable};

/// Whether a path is the address of an object store.
pub fn is_address(path: &str) -> bool {
    Kind::of(path).is_some()
}

/// How the store of an address is reached.
pub const STORE: Argument = Argument {
    name: "store",
    kind: ArgumentKind::Call(CALLS),
    required: false,
    positional: false,
    help: "How the store of an address (`s3://…`, `gs://…`, `az://…`) is reached; without it, as its own tools read it from the environment.",
    example: "s3(region => 'eu-central-1', access_key => secret('aws/key'), secret_key => secret('aws/secret'))",
};

const fn option(name: &'static str, kind: ArgumentKind, help: &'static str, example: &'static str) -> Argument {
    Argument { name, kind, required: false, positional: false, help, example }
}

const CALLS: &[Callable] = &[S3, GS, AZ];

const S3: Callable = Callable {
    name: "s3",
    help: "Amazon S3, or a server that speaks like it.",
    arguments: &[
        option("access_key", ArgumentKind::Secret, "The id of the access key.", "secret('aws/key')"),
        option("secret_key", ArgumentKind::Secret, "The access key.", "secret('aws/secret')"),
        option("session_token", ArgumentKind::Secret, "The token of keys that expire.", "secret('aws/token')"),
        option("region", ArgumentKind::Text, "The region of the bucket: us-east-1, if not said.", "'eu-central-1'"),
        option("endpoint", ArgumentKind::Text, "The address of another server.", "'http://127.0.0.1:9000'"),
    ],
    example: "s3(endpoint => 'http://127.0.0.1:9000', access_key => secret('s3/key'), secret_key => secret('s3/secret'))",
};

const GS: Callable = Callable {
    name: "gs",
    help: "Google Cloud Storage.",
    arguments: &[
        option("service_account", ArgumentKind::Secret, "The JSON key of a service account.", "secret('gcs/key')"),
        option("endpoint", ArgumentKind::Text, "The address of another server.", "'http://127.0.0.1:4443'"),
    ],
    example: "gs(service_account => secret('gcs/key'))",
};

const AZ: Callable = Callable {
    name: "az",
    help: "Azure Blob Storage.",
    arguments: &[
        option("account", ArgumentKind::Text, "The storage account.", "'shop'"),
        option("key", ArgumentKind::Secret, "The access key of the account.", "secret('azure/key')"),
        option("endpoint", ArgumentKind::Text, "The address of another server.", "'http://127.0.0.1:10000/shop'"),
    ],
    example: "az(account => 'shop', key => secret('azure/key'))",
};
