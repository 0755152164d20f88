//! Does a real browser show the report: every chart laid out, nothing in the console, nothing asked of the network, light
//! and dark? Chromium is driven by its debugging protocol over a pipe; without one the test says so.
#![cfg(unix)]

mod recorded;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use dpop_studio::report::page;
use serde_json::{Value, json};

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A headless browser with one page.
struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    number: u64,
    /// What it told without being asked.
    events: Vec<Value>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// `None` where none is installed.
    fn start(profile: &Path) -> Option<Browser> {
        let there = |name: &&str| {
            let version = Command::new(name).arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        };
        let name = BROWSERS.into_iter().find(there)?;
        // The protocol is spoken on descriptors 3 and 4.
        let script = format!(
            "exec {name} --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
             --remote-debugging-pipe --user-data-dir=\"$0\" about:blank 3<&0 4>&1 0</dev/null 1>&2"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (to, from) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        let mut browser = Browser { child, to, from, session: None, number: 0, events: Vec::new() };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = target["targetId"].as_str()?.to_owned();
        let attach = json!({"targetId": target, "flatten": true});
        let attached = browser.ask("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// One message of the browser; it has two minutes for it.
    fn hear(&mut self) -> Value {
        let mut bytes = Vec::new();
        let length = self.from.read_until(0, &mut bytes).expect("the browser's pipe");
        assert!(length > 0, "the browser ended");
        bytes.pop();
        serde_json::from_slice(&bytes).expect("JSON of the browser")
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        write!(self.to, "{message}\0").and_then(|()| self.to.flush()).expect("the browser's pipe");
        loop {
            let heard = self.hear();
            if heard["id"] == self.number {
                assert!(heard["error"].is_null(), "{method}: {}", heard["error"]);
                return heard["result"].clone();
            }
            self.events.push(heard);
        }
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let wish = json!({"expression": expression, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", wish);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    fn open(&mut self, page: &Path) {
        self.ask("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        let began = Instant::now();
        while self.evaluate("document.readyState") != "complete"
            || self.evaluate("location.protocol") != "file:"
        {
            assert!(began.elapsed() < Duration::from_secs(60), "the page does not load");
        }
    }

    fn told(&self, method: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["method"] == method).collect()
    }

    /// A picture of the whole page.
    fn picture(&mut self, path: &Path) {
        let wish = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.ask("Page.captureScreenshot", wish);
        let data = answer["data"].as_str().unwrap();
        std::fs::write(path, decoded(data)).unwrap();
    }
}

/// Base 64.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(digit).collect();
    let group = |four: &[u8]| {
        let bits = four.iter().fold(0u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

/// Mean brightness (0..=255) of a PNG.
fn brightness(path: &Path) -> f64 {
    let file = BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels.iter().map(|byte| f64::from(*byte)).sum::<f64>() / pixels.len() as f64
}

/// Every drawing has a place on the page, and nothing on it is wider than the window.
const LAID_OUT: &str = "(() => {
    const boxes = [...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect());
    return {
        drawings: boxes.length,
        small: boxes.filter(box => box.width < 200 || box.height < 80).length,
        lines: document.querySelectorAll('svg polyline').length,
        coloured: [...document.querySelectorAll('svg polyline')]
            .filter(line => getComputedStyle(line).stroke.startsWith('rgb')).length,
        overflow: document.documentElement.scrollWidth - innerWidth,
    };
})()";

#[test]
fn a_browser_shows_the_report_in_light_and_dark_and_asks_for_nothing() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut browser) = Browser::start(&home.path().join("profile")) else {
        eprintln!("SKIPPED: no Chromium, the report was not opened (apt-get install chromium)");
        return;
    };
    let folder = recorded::run_folder();
    recorded::write_probe(folder.path());
    let file = folder.path().join("report.html");
    std::fs::write(&file, page::report(folder.path()).unwrap()).unwrap();
    let mut seen = Vec::new();
    for (scheme, width) in [("light", 1100), ("dark", 1100), ("light", 420)] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.ask("Emulation.setEmulatedMedia", media);
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        browser.ask("Emulation.setDeviceMetricsOverride", size);
        browser.open(&file);
        let laid_out = browser.evaluate(LAID_OUT);
        // Two main charts in one drawing, eight small ones, the profile.
        assert_eq!(laid_out["drawings"], 10, "{laid_out}");
        assert_eq!(laid_out["small"], 0, "{scheme} {width}: {laid_out}");
        assert!(laid_out["lines"].as_u64().unwrap() > 60, "{laid_out}");
        assert_eq!(laid_out["coloured"], laid_out["lines"], "a colour that is no colour");
        assert!(laid_out["overflow"].as_i64().unwrap() <= 0, "{scheme} {width}: {laid_out}");
        let picture =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{scheme}-{width}.png"));
        browser.picture(&picture);
        seen.push(brightness(&picture));
    }
    assert!(seen[0] > 200.0 && seen[1] < 90.0, "light is light and dark is dark: {seen:?}");
    assert_eq!(
        browser.evaluate("document.title").as_str(),
        folder.path().file_name().unwrap().to_str()
    );

    for method in ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"] {
        assert!(browser.told(method).is_empty(), "{:?}", browser.told(method));
    }
    let asked: Vec<String> = browser
        .told("Network.requestWillBeSent")
        .iter()
        .map(|event| event["params"]["request"]["url"].as_str().unwrap().to_owned())
        .filter(|url| !url.ends_with("/report.html"))
        .collect();
    assert!(asked.is_empty(), "{asked:?}");
    assert!(!browser.told("Network.requestWillBeSent").is_empty(), "the page itself is told of");
}
