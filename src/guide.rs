//! How to put a gatekeeper in front of an application, and what it does there. Each chapter stands alone.
//!
//! | to learn | read |
//! |---|---|
//! | what this is against | [the attack](attack) |
//! | who is blocked when, and why | [verdicts] |
//! | what a blocked caller should see, and what to do in doubt | [replies] |
//! | how your accounts are found | [directories] |
//! | how the layer gets into your web framework | [frameworks] |
//! | where it stands beside nginx, Caddy or Envoy | [proxies] |
//! | how several of it share what they know | [replicas] |
//! | how accounts that nobody resets are watched | [sweeping] |
//! | why this one reset was blocked, and how to let it pass | [forensics] |
//! | how to begin, with nothing or with a daily job | [adoption] |
//! | what to do about rightful users who are blocked | [tuning] |
//! | what can't be known below which top-level domain | [top_levels] |
//! | how to test your own application | [testing] |
//! | what is promised, and what is not | [threats] |
//!
//! # The way of a request
//!
//! ```text
//!  POST /password-reset  email=jo@example.com
//!    │
//!    ▼
//!  route     no guard names its path and method ─────────────────────► the application, untouched
//!    │
//!    ▼
//!  target    two programs could read it in two ways ─────────────────► 400, 403, 413 or 415
//!    │ jo@example.com
//!    ▼
//!  account   no account has this address ────────────────────────────► the application
//!    │ as it is stored: verified on 2020-01-01
//!    ▼
//!  domain    memory, an hour ─► state ─► registry, DNS, … side by side, two seconds ─► what stands in, seven days
//!    │ statuses, dates, and what was seen since
//!    ▼
//!  policy    every reason that holds, in order
//!    │
//!    ▼
//!  verdict   what must be un-verified is; the record is on disk; then
//!    ├─ allow ───────────────────────────────────────────────────────► the application, byte for byte
//!    └─ block ─┬─ refuse ────────────────────────────────────────────► 403 with a reference
//!              ├─ decoy ─────────────────────────────────────────────► the application, with a name that nobody has
//!              └─ observe ───────────────────────────────────────────► the application
//! ```

#[doc = include_str!("guide/attack.md")]
pub mod attack {}
#[doc = include_str!("guide/verdicts.md")]
pub mod verdicts {}
#[doc = include_str!("guide/replies.md")]
pub mod replies {}
#[doc = include_str!("guide/directories.md")]
pub mod directories {}
#[doc = include_str!("guide/frameworks.md")]
pub mod frameworks {}
#[doc = include_str!("guide/proxies.md")]
pub mod proxies {}
#[doc = include_str!("guide/replicas.md")]
pub mod replicas {}
#[doc = include_str!("guide/sweeping.md")]
pub mod sweeping {}
#[doc = include_str!("guide/forensics.md")]
pub mod forensics {}
#[doc = include_str!("guide/adoption.md")]
pub mod adoption {}
#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}
#[doc = include_str!("guide/top_levels.md")]
pub mod top_levels {}
#[doc = include_str!("guide/testing.md")]
pub mod testing {}
#[doc = include_str!("guide/threats.md")]
pub mod threats {}
