//! Requests, by wrk.

use std::fs;
use std::process::Command;

use crate::Failure;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    Page,
    Login,
    Reset,
}

impl Load {
    const fn path(self) -> &'static str {
        match self {
            Self::Page => "/articles/42",
            Self::Login => "/login",
            Self::Reset => "/password-reset",
        }
    }

    const fn form(self) -> Option<&'static str> {
        match self {
            Self::Page => None,
            Self::Login => Some("name=jo&password=correct+horse"),
            Self::Reset => Some("email=user%40example.com"),
        }
    }

    /// Asks for so many seconds, and says how often there was an answer.
    pub(crate) fn run(self, base: &str, seconds: u32) -> Result<u64, Failure> {
        let folder = tempfile::tempdir()?;
        let mut wrk = Command::new("wrk");
        wrk.args([
            "-t1",
            "-c32",
            "-d",
            &format!("{seconds}s"),
            "-H",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
        ]);
        wrk.args(["-H", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "-H", "Accept-Language: en"]);
        wrk.args(["-H", "Cookie: sessionid=0123456789abcdef0123456789abcdef"]);
        if let Some(form) = self.form() {
            let script = folder.path().join("post.lua");
            let headers = "wrk.headers['Content-Type'] = 'application/x-www-form-urlencoded'";
            fs::write(&script, format!("wrk.method = 'POST'\nwrk.body = '{form}'\n{headers}\n"))?;
            wrk.arg("-s").arg(script);
        }
        let output = wrk.arg(format!("{base}{}", self.path())).output().map_err(|error| format!("wrk can't be run: {error}"))?;
        let text = String::from_utf8(output.stdout)?;
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(text.into());
        }
        let count = text.lines().find_map(|line| line.trim().split_once(" requests in ")).ok_or_else(|| text.clone())?;
        Ok(count.0.parse()?)
    }
}
