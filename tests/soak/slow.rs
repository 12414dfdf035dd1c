//! Those who take their time, and those who never finish: bytes on sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::application::bytes;
use crate::dice::Dice;
use crate::ledger::{Told, Who};
use crate::spelling::traceparent;
use crate::traffic::{Answer, Door, PATIENCE, door, judged, passed, reference};
use crate::world::World;

/// How long the sidecars wait for the head of a request, and for the body of a guarded one. Where the machine is overstrained, nobody may be in time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks for resets, and uploads, a byte at a time.
pub(crate) async fn write(world: Arc<World>, mut dice: Dice) {
    while world.pause(dice.between(0.5, 3.0)).await {
        let Some(door) = door(&world, &mut dice) else { continue };
        let pause = Duration::from_secs_f64(dice.between(0.005, 0.05));
        if dice.chance(0.3) {
            let content = bytes(world.next_download(), 100);
            let start = Instant::now();
            let answer = exchange(&door, &post("/upload", "x: y", &content), pause).await;
            if answer.is_err() && start.elapsed() > HEADER_TIMEOUT {
                world.ledger.count("slow upload", "none, since it was too slow");
                continue;
            }
            passed(&world, &door, "slow upload", &content, answer);
            continue;
        }
        let place = dice.below(world.population.accounts.len());
        let email = &world.population.accounts[place].email;
        let trace = world.ledger.send(Who::Account(place), false);
        let start = Instant::now();
        let answer = exchange(&door, &form(&trace, &format!("email={email}")), pause).await;
        if answer.is_err() && start.elapsed() > HEADER_TIMEOUT {
            world.ledger.close(&trace, None);
            world.ledger.count("slow reset", "none, since it was too slow");
            continue;
        }
        judged(&world, &door, "slow reset", &trace, email, answer);
    }
}

/// Downloads what fills every buffer on its way, a little at a time.
pub(crate) async fn read(world: Arc<World>, mut dice: Dice) {
    while world.pause(dice.between(0.5, 3.0)).await {
        let Some(door) = door(&world, &mut dice) else { continue };
        let (seed, length) = (world.next_download(), dice.between(300_000.0, 3_000_000.0) as usize);
        let answer = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(8 * 1024)?;
            let mut stream = socket.connect(door.address).await?;
            let head = format!("GET /bytes?seed={seed}&length={length} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            while stream.read_buf(&mut (&mut answer).limit(64 * 1024)).await? > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(answer)
        };
        passed(&world, &door, "slow download", &bytes(seed, length), parsed(answer.await));
    }
}

/// Begins requests and never finishes them, in every way. The sidecar must let go of each by itself, and nobody be mailed.
pub(crate) async fn leave_open(world: Arc<World>, mut dice: Dice) {
    while world.pause(dice.between(0.5, 3.0)).await {
        let Some(door) = door(&world, &mut dice) else { continue };
        let Ok(mut stream) = TcpStream::connect(door.address).await else { continue };
        let trace = world.ledger.send(Who::Nobody, false);
        let whole = form(&trace, "email=user0@steady-1.org");
        let (kind, sent, ends) = match dice.below(6) {
            0 => ("half-open: silence", 0, false),
            1 => ("half-open: half the head", 40, false),
            2 => ("half-open: half the body", whole.len() - 5, false),
            3 => ("half-open: FIN in the head", 40, true),
            4 => ("half-open: FIN in the body", whole.len() - 5, true),
            _ => {
                drop(stream.write_all(&whole[..whole.len() - 5]).await);
                drop(stream.set_zero_linger());
                drop(stream);
                world.ledger.count("half-open: reset in the body", "-");
                world.ledger.close(&trace, None);
                continue;
            }
        };
        drop(stream.write_all(&whole[..sent]).await);
        if ends {
            drop(stream.shutdown().await);
        }
        let mut answer = Vec::new();
        let over = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        if over.is_err() {
            world.ledger.wrong(format!("{kind}: the connection stays open"));
        }
        match parsed(Ok(answer)) {
            Err(_) => {
                world.ledger.count(kind, "closed");
                world.ledger.close(&trace, None);
            }
            Ok((status @ (400 | 408), body)) => {
                world.ledger.count(kind, status.to_string());
                match reference(&body) {
                    Some(reference) => world.told(&trace, Told::Refused(reference)),
                    None => drop(world.ledger.close(&trace, None)),
                }
            }
            Ok((status, _)) => {
                world.ledger.close(&trace, None);
                world.ledger.wrong(format!("{kind}: {status}"));
            }
        }
    }
}

fn form(trace: &str, body: &str) -> Vec<u8> {
    let headers = format!("traceparent: {}\r\nContent-Type: application/x-www-form-urlencoded", traceparent(trace));
    post("/reset", &headers, body.as_bytes())
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n{headers}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Sends a request a byte at a time, and reads the answer.
async fn exchange(door: &Door<'_>, request: &[u8], pause: Duration) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(door.address).await?;
        for byte in request {
            stream.write_all(&[*byte]).await?;
            tokio::time::sleep(pause).await;
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    parsed(tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|late| Err(late.into())))
}

/// The status and the body of an answer after which the connection was closed.
fn parsed(answer: std::io::Result<Vec<u8>>) -> Answer {
    let answer = answer.map_err(|error| error.to_string())?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("the answer breaks off")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let body = &answer[end + 4..];
    if length.is_some_and(|length| length != body.len()) {
        return Err("the body breaks off".to_owned());
    }
    Ok((status, Bytes::copy_from_slice(body)))
}
