//! S3 and what speaks like it, through the AWS SDK.
//!
//! Credentials, region, profile and endpoint come from where every AWS tool looks for them: variables
//! (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …), the shared configuration files, web
//! identity, container and instance roles; `AWS_CA_BUNDLE` names authorities to trust beside the machine's. With an endpoint of its own a bucket is addressed by path. The SDK's own
//! retries, and its own idea of a stream that stalled, are off: [`crate::retry`] is the one policy.

mod metered;

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use bytes::{Bytes, BytesMut};
use strongroom_host::disk::read_all;
use strongroom_host::real_disk::RealDisk;

use crate::address::S3Address;
use crate::meter::Meter;
use crate::transport::{
    ANSWER_LEN_MAX, Condition, Entry, Fault, FaultKind, Got, Page, Tag, Transport, Trip, slice,
};
use metered::Counting;

/// LIMIT: a connection that is not there by then will not come.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Region of a server that has none.
const REGION_DEFAULT: &str = "us-east-1";
/// Variable that names a file with certificates of authorities, PEM.
const AUTHORITIES_VARIABLE: &str = "AWS_CA_BUNDLE";
/// Variables that move requests to another server.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// A prefix of a bucket.
pub(crate) struct S3 {
    client: Client,
    bucket: String,
    /// Empty, or ends with `/`.
    prefix: String,
    encryption: Option<ServerSideEncryption>,
    encryption_key: Option<String>,
}

impl S3 {
    /// Finds configuration and credentials. No request to the server yet.
    ///
    /// # Errors
    /// `Denied` when there are no credentials, `Invalid` when the file of authorities cannot be read.
    pub(crate) async fn connect(address: &S3Address) -> Result<Self, Fault> {
        let config = configuration(address, authorities()?).await;
        require_credentials(&config).await?;
        let has_endpoint = config.endpoint_url().is_some()
            || ENDPOINT_VARIABLES.iter().any(|name| std::env::var_os(name).is_some());
        let built = aws_sdk_s3::config::Builder::from(&config).force_path_style(has_endpoint);
        Ok(Self::with(built, address))
    }

    fn with(config: aws_sdk_s3::config::Builder, address: &S3Address) -> Self {
        let prefix = match address.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Self {
            client: Client::from_conf(config.build()),
            bucket: address.bucket.clone(),
            prefix,
            encryption: address.sse.as_deref().map(ServerSideEncryption::from),
            encryption_key: address.sse_key.clone(),
        }
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

/// Authorities to trust beside the machine's.
fn authorities() -> Result<Option<Vec<u8>>, Fault> {
    let Some(path) = std::env::var_os(AUTHORITIES_VARIABLE).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let unreadable = |error: std::io::Error| {
        let text =
            format!("{AUTHORITIES_VARIABLE} names a file that cannot be read: {}", error.kind());
        Fault::new(FaultKind::Invalid, text)
    };
    read_all(&RealDisk, Path::new(&path)).map(Some).map_err(unreadable)
}

async fn configuration(address: &S3Address, authorities: Option<Vec<u8>>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(timeouts);
    if let Some(pem) = authorities {
        let trusted = TrustStore::default().with_pem_certificate(pem);
        // The builder's only complaint is a context without a trust store.
        if let Ok(context) = TlsContext::builder().with_trust_store(trusted).build() {
            let client = aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context);
            loader = loader.http_client(client.build_https());
        }
    }
    if let Some(profile) = &address.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint) = &address.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = &address.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let config = loader.load().await;
    if config.region().is_some() {
        return config;
    }
    config.into_builder().region(Region::from_static(REGION_DEFAULT)).build()
}

async fn require_credentials(config: &SdkConfig) -> Result<(), Fault> {
    use aws_sdk_s3::config::ProvideCredentials as _;
    let missing = || Fault::new(FaultKind::Denied, "no credentials for S3 were found");
    let provider = config.credentials_provider().ok_or_else(missing)?;
    provider.provide_credentials().await.map(drop).map_err(|_| missing())
}

impl Transport for S3 {
    fn get<'a>(&'a self, path: &'a str, range: Option<Range<u64>>, meter: Meter) -> Trip<'a, Got> {
        Box::pin(async move {
            let header =
                range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1));
            let request = self.client.get_object().bucket(&self.bucket).key(self.key(path));
            let request = request.set_range(header).customize().interceptor(Counting(meter));
            let answer = match request.send().await {
                // The range begins behind the end: there is nothing of it.
                Err(error) if range.is_some() && status(&error) == Some(416) => {
                    return Ok(Got { bytes: Bytes::new(), tag: None });
                }
                answer => answer.map_err(|error| fault(&error))?,
            };
            let is_part = answer.content_range().is_some();
            let tag = strong(answer.e_tag());
            let bytes = collect(answer.body, answer.content_length).await?;
            let bytes = match range {
                // A server that knows no ranges sends everything.
                Some(range) if !is_part => slice(&bytes, &range),
                _ => bytes,
            };
            Ok(Got { bytes, tag })
        })
    }

    fn put<'a>(
        &'a self,
        path: &'a str,
        bytes: Bytes,
        condition: Condition,
        meter: Meter,
    ) -> Trip<'a, Option<Tag>> {
        Box::pin(async move {
            let (absent, over) = match condition {
                Condition::Absent => (Some("*".to_owned()), None),
                Condition::Over(tag) => (None, Some(tag.to_string())),
                Condition::Replace => (None, None),
            };
            let request = self.client.put_object().bucket(&self.bucket).key(self.key(path));
            let request = request.set_if_none_match(absent).set_if_match(over);
            let request = request.body(ByteStream::from(bytes));
            let request = request.set_server_side_encryption(self.encryption.clone());
            let request = request.set_ssekms_key_id(self.encryption_key.clone());
            let request = request.customize().interceptor(Counting(meter));
            let answer = request.send().await.map_err(|error| fault(&error))?;
            Ok(strong(answer.e_tag()))
        })
    }

    fn len<'a>(&'a self, path: &'a str) -> Trip<'a, u64> {
        Box::pin(async move {
            let request = self.client.head_object().bucket(&self.bucket).key(self.key(path));
            let answer = request.send().await.map_err(|error| fault(&error))?;
            let len = answer.content_length().and_then(|len| u64::try_from(len).ok());
            len.ok_or_else(|| Fault::new(FaultKind::Broken, "the server told no length"))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        count_max: usize,
        meter: Meter,
    ) -> Trip<'a, Page> {
        Box::pin(async move {
            let request = self.client.list_objects_v2().bucket(&self.bucket);
            let request =
                request.prefix(self.key(prefix)).set_start_after(after.map(|path| self.key(path)));
            let request = request.max_keys(i32::try_from(count_max).unwrap_or(i32::MAX));
            let request = request.customize().interceptor(Counting(meter));
            let answer = request.send().await.map_err(|error| fault(&error))?;
            let entries = answer.contents().iter().filter_map(|object| {
                let path = object.key()?.strip_prefix(&self.prefix)?.to_owned();
                Some(Entry { path, len: u64::try_from(object.size()?).ok()? })
            });
            Ok(Page { entries: entries.collect(), has_more: answer.is_truncated() == Some(true) })
        })
    }

    fn delete<'a>(&'a self, path: &'a str) -> Trip<'a, ()> {
        Box::pin(async move {
            let request = self.client.delete_object().bucket(&self.bucket).key(self.key(path));
            match request.send().await.map_err(|error| fault(&error)) {
                Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
                result => result.map(drop),
            }
        })
    }
}

/// A tag that stands for these very bytes. Proxies make weak ones.
fn strong(tag: Option<&str>) -> Option<Tag> {
    tag.filter(|tag| !tag.is_empty() && !tag.starts_with("W/")).map(Tag::from)
}

/// All of an answer.
async fn collect(mut body: ByteStream, len: Option<i64>) -> Result<Bytes, Fault> {
    let len = len.and_then(|len| u64::try_from(len).ok()).unwrap_or(0).min(ANSWER_LEN_MAX);
    let mut all = BytesMut::with_capacity(usize::try_from(len).unwrap_or(0));
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| Fault::new(FaultKind::Broken, "the answer was cut off"))?;
        if (all.len() + part.len()) as u64 > ANSWER_LEN_MAX {
            return Err(Fault::too_long());
        }
        all.extend_from_slice(&part);
    }
    Ok(all.freeze())
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn fault<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Fault {
    let response = match error {
        SdkError::TimeoutError(_) => return Fault::new(FaultKind::Broken, "no answer in time"),
        SdkError::DispatchFailure(_) => return Fault::new(FaultKind::Broken, "no connection"),
        SdkError::ConstructionFailure(_) => {
            return Fault::new(FaultKind::Invalid, "the request could not be made");
        }
        // Granted, and then not all of it came.
        SdkError::ResponseError(error) if error.raw().status().is_success() => {
            return Fault::new(FaultKind::Broken, "the answer broke off");
        }
        SdkError::ResponseError(error) => error.raw(),
        SdkError::ServiceError(error) => error.raw(),
        _ => return Fault::new(FaultKind::Broken, "no answer that makes sense"),
    };
    let code = error.code();
    let mut fault = match code {
        Some("NoSuchBucket") => Fault::new(FaultKind::Invalid, "there is no such bucket"),
        Some("RequestTimeTooSkewed") => {
            Fault::new(FaultKind::Denied, "the clock of this machine is wrong")
        }
        code => Fault::of_status(response.status().as_u16(), code),
    };
    let seconds = response.headers().get("retry-after").and_then(|text| text.parse().ok());
    fault.wait = seconds.map(Duration::from_secs);
    fault
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::Instant;

    use aws_sdk_s3::config::Credentials;
    use strongroom_host::clock::MachineClock;

    use super::*;
    use crate::timer::MachineTimer;

    fn store(endpoint: &str, address: &str) -> S3 {
        let Some(Ok(crate::Address::S3(address))) = crate::Address::parse("s3", address) else {
            panic!("no address");
        };
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .region(Region::from_static(REGION_DEFAULT))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        S3::with(config, &address)
    }

    fn runtime() -> tokio::runtime::Runtime {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build().unwrap()
    }

    /// The head of the next request.
    fn head(peer: &mut TcpStream) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
        }
        String::from_utf8_lossy(&heard).to_ascii_lowercase()
    }

    /// What a server hears of one PUT to an address.
    fn heard(address: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let s3 = store(&format!("http://{}", listener.local_addr().unwrap()), address);
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let heard = head(&mut peer);
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            heard
        });
        // Whether the server read all of the body makes no difference to what it heard.
        let body = Bytes::from_static(b"sealed");
        let _ = runtime().block_on(s3.put("object", body, Condition::Replace, Meter::unread()));
        server.join().unwrap()
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn bodies_are_counted_as_the_connection_takes_and_brings_them() {
        const LEN: usize = 24 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let s3 = store(&format!("http://{}", listener.local_addr().unwrap()), "bucket");
        let timer = MachineTimer(Arc::new(MachineClock::new()));
        let meter = Meter::new(Arc::new(timer));
        let (seen, (half, go_on)) = (meter.clone(), std::sync::mpsc::channel());
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let heard = head(&mut peer);
            // As much as fits into the buffers, and nothing more while nobody reads.
            eventually("some of it goes", || seen.bytes() > 0);
            assert!(seen.bytes() < LEN as u64, "all of it has gone");
            let mut body = vec![0; LEN];
            peer.read_exact(&mut body).unwrap();
            assert_eq!(seen.bytes(), LEN as u64);
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            assert!(head(&mut peer).starts_with("get "));
            let told = format!("HTTP/1.1 200 OK\r\ncontent-length: {LEN}\r\n\r\n");
            peer.write_all(told.as_bytes()).unwrap();
            peer.write_all(&body[..LEN / 2]).unwrap();
            go_on.recv().unwrap();
            peer.write_all(&body[LEN / 2..]).unwrap();
            heard
        });
        let runtime = runtime();
        let body = Bytes::from(vec![7; LEN]);
        runtime.block_on(s3.put("object", body.clone(), Condition::Absent, meter)).unwrap();
        let meter = Meter::new(Arc::new(MachineTimer(Arc::new(MachineClock::new()))));
        let got = runtime.spawn({
            let (s3, meter) = (Arc::new(s3), meter.clone());
            async move { s3.get("object", None, meter).await }
        });
        eventually("one half comes", || meter.bytes() == LEN as u64 / 2);
        half.send(()).unwrap();
        assert_eq!(runtime.block_on(got).unwrap().unwrap().bytes, body);
        assert_eq!(meter.bytes(), LEN as u64);
        let heard = server.join().unwrap();
        // Counted or not, it is a body in memory: its length and checksum stand in the head.
        assert!(heard.contains(&format!("content-length: {LEN}\r\n")), "{heard}");
        assert!(heard.contains("x-amz-checksum-crc32: ") && !heard.contains("chunked"), "{heard}");
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let s3 = store(&format!("http://{}", listener.local_addr().unwrap()), "bucket");
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            head(&mut peer);
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n<ListBucketRes")
                .unwrap();
        });
        let fault =
            runtime().block_on(s3.list("log/", None, 10, Meter::unread())).map(drop).unwrap_err();
        assert_eq!((fault.kind, fault.text.as_str()), (FaultKind::Broken, "the answer broke off"));
        server.join().unwrap();
    }

    #[test]
    fn a_put_asks_for_the_encryption_that_the_address_names() {
        assert!(!heard("bucket").contains("server-side-encryption"));
        assert!(heard("bucket?sse=AES256").contains("x-amz-server-side-encryption: aes256\r\n"));
        let with_key = heard("bucket?sse=aws:kms&sse-key=alias/drive");
        assert!(with_key.contains("x-amz-server-side-encryption: aws:kms\r\n"), "{with_key}");
        let key = "x-amz-server-side-encryption-aws-kms-key-id: alias/drive\r\n";
        assert!(with_key.contains(key), "{with_key}");
    }
}
