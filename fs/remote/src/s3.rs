//! S3 and what speaks like it, through the AWS SDK.
//!
//! Credentials, region, profile and endpoint come from where every AWS tool looks for them: variables
//! (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …), the shared configuration files, web
//! identity, container and instance roles. With an endpoint of its own a bucket is addressed by path. The SDK's own
//! retries are off: [`crate::retry`] is the one policy.

use std::ops::Range;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use crate::address::S3Address;
use crate::transport::{Condition, Entry, Fault, FaultKind, Page, Transport, Trip, slice};

/// LIMIT: a connection that is not there by then will not come.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Region of a server that has none.
const REGION_DEFAULT: &str = "us-east-1";
/// Variables that move requests to another server.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// A prefix of a bucket.
pub(crate) struct S3 {
    client: Client,
    bucket: String,
    /// Empty, or ends with `/`.
    prefix: String,
}

impl S3 {
    /// Finds configuration and credentials. No request to the server yet.
    ///
    /// # Errors
    /// `Denied` when there are no credentials.
    pub(crate) async fn connect(address: &S3Address) -> Result<Self, Fault> {
        let config = configuration(address).await;
        require_credentials(&config).await?;
        let has_endpoint = config.endpoint_url().is_some()
            || ENDPOINT_VARIABLES.iter().any(|name| std::env::var_os(name).is_some());
        let built = aws_sdk_s3::config::Builder::from(&config).force_path_style(has_endpoint);
        let prefix = match address.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let client = Client::from_conf(built.build());
        Ok(Self { client, bucket: address.bucket.clone(), prefix })
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

async fn configuration(address: &S3Address) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
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
    fn get<'a>(&'a self, path: &'a str, range: Option<Range<u64>>) -> Trip<'a, Bytes> {
        Box::pin(async move {
            let header =
                range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1));
            let request = self.client.get_object().bucket(&self.bucket).key(self.key(path));
            let answer = match request.set_range(header).send().await {
                // The range begins behind the end: there is nothing of it.
                Err(error) if range.is_some() && status(&error) == Some(416) => {
                    return Ok(Bytes::new());
                }
                answer => answer.map_err(|error| fault(&error))?,
            };
            let is_part = answer.content_range().is_some();
            let cut = |_| Fault::new(FaultKind::Broken, "the answer was cut off");
            let bytes = answer.body.collect().await.map_err(cut)?.into_bytes();
            Ok(match range {
                // A server that knows no ranges sends everything.
                Some(range) if !is_part => slice(&bytes, &range),
                _ => bytes,
            })
        })
    }

    fn put<'a>(&'a self, path: &'a str, bytes: Bytes, condition: Condition) -> Trip<'a, ()> {
        Box::pin(async move {
            let absent = match condition {
                Condition::Absent => Some("*".to_owned()),
                Condition::Replace => None,
            };
            let request = self.client.put_object().bucket(&self.bucket).key(self.key(path));
            let request = request.set_if_none_match(absent).body(ByteStream::from(bytes));
            request.send().await.map(drop).map_err(|error| fault(&error))
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
    ) -> Trip<'a, Page> {
        Box::pin(async move {
            let request = self.client.list_objects_v2().bucket(&self.bucket);
            let request =
                request.prefix(self.key(prefix)).set_start_after(after.map(|path| self.key(path)));
            let request = request.max_keys(i32::try_from(count_max).unwrap_or(i32::MAX));
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
