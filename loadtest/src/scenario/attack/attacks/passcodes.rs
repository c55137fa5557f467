//! Wrong passcodes.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::ctx::{ADDRESSES, Ctx};
use super::super::http::{Connection, post, tally};
use super::super::limits::{PASSCODES_OF_ALL, within};

/// Between the guesses of one address at the honest meeting.
const BETWEEN: Duration = Duration::from_millis(50);
/// With the addresses, more than a hundred thousand pairs.
const MEETINGS: usize = 500;
const OWNERS: usize = 10;

async fn guess(ctx: &Ctx, connection: &mut Connection, meeting: &str) -> Result<()> {
    let body = json!({"name": "M", "passcode": format!("{:08x}", rand::random::<u32>())});
    let path = format!("/api/v1/meetings/{meeting}/tokens");
    let answer = connection.ask(&post(ctx, &path, &body)).await?;
    tally(ctx, &answer);
    // Neither asked for work nor let wait: somebody has looked at the passcode.
    ctx.count("guesses answered", (answer.status == 403).into());
    Ok(())
}

pub async fn wrong(ctx: Ctx) -> Result<()> {
    let begin = Instant::now();
    ctx.swarm(ADDRESSES + ctx.sources.v6().len(), |ctx, index| async move {
        let mut connection = Connection::open(&ctx, index).await?;
        loop {
            guess(&ctx, &mut connection, &ctx.meeting.id).await?;
            sleep(BETWEEN).await;
        }
    })
    .await;
    let answered = ctx.tally.of("guesses answered");
    let allowed = within(PASSCODES_OF_ALL, begin.elapsed().as_secs_f64());
    ensure!(
        answered as f64 <= allowed,
        "{answered} guesses are answered, {allowed:.0} allowed"
    );
    Ok(())
}

/// Every address at each of many meetings of their own: as many counts as there are pairs of them.
pub async fn own(ctx: Ctx) -> Result<()> {
    let meetings = Mutex::new(Vec::new());
    ctx.once(OWNERS, |ctx, index| {
        let meetings = &meetings;
        async move {
            let mut connection = Connection::open(&ctx, index).await?;
            for _ in 0..MEETINGS / OWNERS {
                let answer = connection
                    .ask(&post(&ctx, "/api/v1/meetings", &json!({"passcode": "4711"})))
                    .await?;
                let meeting: Value = serde_json::from_slice(&answer.body).context("no JSON")?;
                let id = meeting["id"].as_str().context("no meeting")?.to_owned();
                meetings.lock().expect("no push panics").push(id);
            }
            Ok(())
        }
    })
    .await;
    let meetings = meetings.into_inner().expect("no push panics");
    ctx.once(ADDRESSES + ctx.sources.v6().len(), |ctx, index| {
        let meetings = &meetings;
        async move {
            let mut connection = Connection::open(&ctx, index).await?;
            for meeting in meetings {
                guess(&ctx, &mut connection, meeting).await?;
            }
            Ok(())
        }
    })
    .await;
    ctx.over().await;
    Ok(())
}
