//! Who guesses meeting codes.

use anyhow::{Result, ensure};
use rand::Rng;
use serde_json::Value;

use super::super::ctx::Ctx;
use super::super::http::{Connection, request, tally};
use super::super::limits::{LOOKUP_MISSES, within};

const ATTACKERS: usize = 16;

pub async fn guess(ctx: Ctx) -> Result<()> {
    let begin = std::time::Instant::now();
    ctx.swarm(ATTACKERS, |ctx, index| async move {
        let mut connection = Connection::open(&ctx, index).await?;
        loop {
            let code = rand::rng().random_range(0..1_000_000_000u32);
            let path = format!("/api/v1/meetings/{code:09}");
            let answer = connection.ask(&request(&ctx, "GET", &path, "", "")).await?;
            tally(&ctx, &answer);
            if answer.status == 404 {
                ctx.count("answered", 1);
            }
        }
    })
    .await;
    let answered = ctx.tally.of("answered");
    let allowed = ATTACKERS as f64 * within(LOOKUP_MISSES, begin.elapsed().as_secs_f64());
    let mut connection = Connection::open(&ctx, 150).await;
    if let Ok(connection) = &mut connection {
        let path = format!("/api/v1/meetings/{}", ctx.meeting.code);
        let answer = connection.ask(&request(&ctx, "GET", &path, "", "")).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let told: Vec<_> = ["id", "title", "participants"]
            .into_iter()
            .filter(|field| !body[field].is_null())
            .collect();
        ensure!(told.is_empty(), "a stranger with a code is told {}", told.join(", "));
    }
    ensure!(
        answered as f64 <= allowed,
        "{answered} guesses are answered, {allowed:.0} allowed"
    );
    Ok(())
}
