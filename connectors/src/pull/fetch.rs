//! One GET, into a file: whole, or not at all.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Certificate, Client, ClientBuilder, StatusCode, Url, header};
use syncline_engine::source::SourceError;
use xxhash_rust::xxh3::Xxh3;

use crate::{objects::wait::start, system_words};

/// Longest silence before a server counts as away.
const PATIENCE: Duration = Duration::from_secs(30);
/// And the longest that an answer may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is asked for.
#[derive(Clone)]
pub struct Wanted {
    pub url: Url,
    pub token: Option<String>,
    /// Certificates of who is trusted beside those that the system trusts.
    pub trusted: Option<PathBuf>,
    /// Bytes that are taken at most.
    pub most: u64,
    /// Where the answer is put.
    pub file: PathBuf,
}

/// What told the last answer from others, for a server that would not send it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version {
    pub etag: Option<String>,
    pub modified: Option<String>,
}

pub enum Answer {
    /// The same as the version that was named.
    Same,
    New(Content),
}

/// An answer that lies in its file.
#[derive(Clone, Debug)]
pub struct Content {
    pub version: Version,
    pub size: u64,
    pub hash: String,
}

impl Wanted {
    /// The address without what may be a secret in it: what messages and books call it.
    pub fn place(&self) -> String {
        place(&self.url)
    }

    /// Gets it, unless it is still this version.
    pub fn fetch(&self, known: Option<&Version>) -> Result<Answer, SourceError> {
        let (wanted, known) = (self.clone(), known.cloned());
        let coming = start(async move { wanted.get(known).await }).map_err(|error| self.again(system_words(&error)))?;
        coming.within(LONGEST).map_err(|error| self.again(system_words(&error)))?
    }

    async fn get(&self, known: Option<Version>) -> Result<Answer, SourceError> {
        let client = Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).timeout(LONGEST);
        let client = self.certificates()?.into_iter().fold(client, ClientBuilder::add_root_certificate).build();
        let mut request = client.map_err(|error| self.unreadable(said(&error)))?.get(self.url.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(Version { etag, modified }) = known {
            request = match (etag, modified) {
                (Some(etag), _) => request.header(header::IF_NONE_MATCH, etag),
                (None, Some(modified)) => request.header(header::IF_MODIFIED_SINCE, modified),
                (None, None) => request,
            };
        }
        let response = request.send().await.map_err(|error| self.again(said(&error)))?;
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(Answer::Same),
            status if status.is_success() => {}
            status => return Err(self.refused(status)),
        }
        self.keep(response).await.map(Answer::New)
    }

    fn certificates(&self) -> Result<Vec<Certificate>, SourceError> {
        let Some(path) = &self.trusted else { return Ok(vec![]) };
        let unreadable = |detail: String| SourceError::Unreadable { what: path.display().to_string(), detail };
        let text = fs::read(path).map_err(|error| unreadable(system_words(&error)))?;
        let found = Certificate::from_pem_bundle(&text).map_err(|error| unreadable(said(&error)))?;
        if found.is_empty() {
            return Err(unreadable("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
        }
        Ok(found)
    }

    async fn keep(&self, mut response: reqwest::Response) -> Result<Content, SourceError> {
        let named = |name: header::HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let version = Version { etag: named(header::ETAG), modified: named(header::LAST_MODIFIED) };
        let part = self.file.with_extension("part");
        let io = |error: std::io::Error| self.again(format!("{}: {}", part.display(), system_words(&error)));
        if let Some(folder) = part.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file = File::create(&part).map_err(io)?;
        let (mut size, mut hash) = (0, Xxh3::new());
        while let Some(bytes) = response.chunk().await.map_err(|error| self.again(said(&error)))? {
            size += bytes.len() as u64;
            if size > self.most {
                let _ = fs::remove_file(&part);
                let more = format!("gives more than {} bytes; take more with max_size => '…'", self.most);
                return Err(self.unreadable(more));
            }
            hash.update(&bytes);
            file.write_all(&bytes).map_err(io)?;
        }
        file.sync_all().and_then(|()| fs::rename(&part, &self.file)).map_err(io)?;
        Ok(Content { version, size, hash: syncline_record::keys::hex128(hash.digest128()) })
    }

    fn refused(&self, status: StatusCode) -> SourceError {
        match status.as_u16() {
            code @ (401 | 403) => self.unreadable(format!("the server does not let us in ({code})")),
            code @ (404 | 410) => self.unreadable(format!("there is nothing ({code})")),
            code @ (408 | 429 | 500..) => self.again(format!("the server answered {code}")),
            code => self.unreadable(format!("the server answered {code}")),
        }
    }

    fn again(&self, detail: String) -> SourceError {
        SourceError::Again { what: self.place(), detail }
    }

    pub fn unreadable(&self, detail: String) -> SourceError {
        SourceError::Unreadable { what: self.place(), detail }
    }
}

fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// What happened, without the address: its innermost cause.
fn said(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.is_timeout() {
        true => "the server does not answer in time".to_owned(),
        false => format!("the server cannot be read: {cause}"),
    }
}

/// Whether the file is there and has this content.
pub fn holds(file: &Path, size: u64, hash: &str) -> bool {
    let same = || -> std::io::Result<bool> {
        let mut content = Xxh3::new();
        let mut found = File::open(file)?;
        if found.metadata()?.len() != size {
            return Ok(false);
        }
        let mut block = vec![0; 1 << 20];
        loop {
            match std::io::Read::read(&mut found, &mut block)? {
                0 => return Ok(syncline_record::keys::hex128(content.digest128()) == hash),
                length => content.update(&block[..length]),
            }
        }
    };
    same().unwrap_or(false)
}
