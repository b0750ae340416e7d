//! Moves bytes between memory and a bucket by the AWS SDK and nothing else: what a mount of a bucket is measured against.
//!
//! `plain_sdk put BUCKET MIB` writes objects of 8 MiB; `plain_sdk get BUCKET` reads all of the bucket in ranges of 4 MiB. As many
//! at a time as the mount has. Prints the seconds that it took, without those of finding credentials and names.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Length of an object, as the mount packs them.
const OBJECT_LEN: usize = 8 << 20;
/// Objects on their way out at a time, as `strongroom_remote` has them.
const PUT_COUNT: usize = 8;
/// Length of a range, as the mount fetches ahead.
const RANGE_LEN: u64 = 4 << 20;
/// Ranges on their way in at a time: as many as the mount fetches ahead.
const GET_COUNT: usize = 16;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seconds = match words.as_slice() {
        ["put", bucket, mib] => runtime.block_on(put(bucket, mib.parse()?))?,
        ["get", bucket] => runtime.block_on(get(bucket))?,
        _ => return Err("plain_sdk put BUCKET MIB | plain_sdk get BUCKET".into()),
    };
    println!("{seconds:.3}");
    Ok(())
}

async fn client() -> Client {
    let region = Region::from_static("us-east-1");
    let config = aws_config::defaults(BehaviorVersion::latest()).region(region).load().await;
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    Client::from_conf(config)
}

async fn put(bucket: &str, mib: usize) -> Outcome<f64> {
    let client = client().await;
    let first =
        ByteStream::from_static(b"a server may make room for a new bucket at its first object");
    client.put_object().bucket(bucket).key("first").body(first).send().await?;
    let body = Bytes::from(vec![0x5a; OBJECT_LEN]);
    let turns = Arc::new(Semaphore::new(PUT_COUNT));
    let began = Instant::now();
    let mut acts = JoinSet::new();
    for index in 0..(mib << 20).div_ceil(OBJECT_LEN) {
        let turn = Arc::clone(&turns).acquire_owned().await?;
        let request = client.put_object().bucket(bucket).key(format!("object/{index}"));
        let request = request.body(ByteStream::from(body.clone()));
        acts.spawn(async move {
            let answer = request.send().await;
            drop(turn);
            answer.map(drop)
        });
    }
    while let Some(act) = acts.join_next().await {
        act??;
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn get(bucket: &str) -> Outcome<f64> {
    let client = client().await;
    let mut ranges = Vec::new();
    let mut pages = client.list_objects_v2().bucket(bucket).into_paginator().send();
    while let Some(page) = pages.next().await {
        for object in page?.contents() {
            let key = object.key().ok_or("an object without a key")?;
            let len = u64::try_from(object.size().ok_or("an object without a size")?)?;
            let starts = (0..len).step_by(usize::try_from(RANGE_LEN)?);
            ranges.extend(starts.map(|start| (key.to_owned(), start, len.min(start + RANGE_LEN))));
        }
    }
    let turns = Arc::new(Semaphore::new(GET_COUNT));
    let began = Instant::now();
    let mut acts = JoinSet::new();
    for (key, start, end) in ranges {
        let turn = Arc::clone(&turns).acquire_owned().await?;
        let range = format!("bytes={start}-{}", end - 1);
        let request = client.get_object().bucket(bucket).key(key).range(range);
        acts.spawn(async move {
            let body = request.send().await?.body.collect().await?.into_bytes();
            drop(turn);
            let len = u64::try_from(body.len())?;
            if len == end - start { Ok(()) } else { Outcome::Err("a short answer".into()) }
        });
    }
    while let Some(act) = acts.join_next().await {
        act??;
    }
    Ok(began.elapsed().as_secs_f64())
}
