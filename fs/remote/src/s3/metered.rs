//! Counts what moves in a request of the SDK.
//!
//! The request's body is wrapped after it was hashed and signed: whatever the SDK does with a body in memory (checksums in
//! the head, no trailers) stays as it is.

use std::mem::replace;

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;

use crate::meter::{Meter, Metered};

/// Tells a meter of both bodies.
pub(super) struct Counting(pub(super) Meter);

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counting")
    }
}

impl Counting {
    fn count(&self, body: &mut SdkBody) {
        if body.content_length() == Some(0) {
            return;
        }
        let meter = self.0.clone();
        let counted = replace(body, SdkBody::taken()).map_preserve_contents(move |body| {
            SdkBody::from_body_1_x(Metered::new(body, meter.clone()))
        });
        *body = counted;
    }
}

impl Intercept for Counting {
    fn name(&self) -> &'static str {
        "Counting"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.count(context.request_mut().body_mut());
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.count(context.response_mut().body_mut());
        Ok(())
    }
}
