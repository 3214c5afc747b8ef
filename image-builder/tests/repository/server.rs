//! An HTTP server for one folder that cuts connections, answers 503 and lies about ranges when told to.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// The answer is an error.
    Status(u16),
    /// So many bytes come, then one in so many milliseconds.
    Drip(usize, u64),
    /// The whole file comes although a part was asked for.
    IgnoreRange,
    /// Another part comes than was asked for.
    WrongRange,
}

pub(crate) struct Server {
    /// `http://127.0.0.1:port`
    pub(crate) address: String,
    state: Arc<State>,
    port: u16,
}

struct State {
    root: PathBuf,
    troubles: Mutex<BTreeMap<String, VecDeque<Trouble>>>,
    /// First bytes asked for, by path.
    ranges: Mutex<BTreeMap<String, Vec<Option<usize>>>>,
    stopped: Mutex<bool>,
}

impl Server {
    pub(crate) fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            root: root.to_owned(),
            troubles: Mutex::default(),
            ranges: Mutex::default(),
            stopped: Mutex::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *shared.stopped.lock().unwrap() {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || drop(stream.map(|stream| shared.answer(stream))));
            }
        });
        Server {
            address: format!("http://127.0.0.1:{port}"),
            state,
            port,
        }
    }

    /// The next requests for `path` go wrong in these ways.
    pub(crate) fn trouble(&self, path: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state
            .troubles
            .lock()
            .unwrap()
            .insert(path.to_owned(), troubles.into_iter().collect());
        self.state.ranges.lock().unwrap().remove(path);
    }

    /// First bytes asked for since the last [`Server::trouble`].
    pub(crate) fn ranges(&self, path: &str) -> Vec<Option<usize>> {
        self.state
            .ranges
            .lock()
            .unwrap()
            .get(path)
            .cloned()
            .unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.state.stopped.lock().unwrap() = true;
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let path = request
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned();
        let mut from = None;
        for line in lines {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(range) = line.strip_prefix("range: bytes=") {
                from = range.trim_end_matches('-').parse::<usize>().ok();
            }
        }
        self.ranges
            .lock()
            .unwrap()
            .entry(path.clone())
            .or_default()
            .push(from);
        let trouble = self
            .troubles
            .lock()
            .unwrap()
            .get_mut(&path)
            .and_then(VecDeque::pop_front);
        let Ok(body) = fs::read(self.root.join(&path)) else {
            return stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        };
        let start = match trouble {
            Some(Trouble::Status(status)) => {
                let head = format!(
                    "HTTP/1.1 {status} Trouble\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                return stream.write_all(head.as_bytes());
            }
            Some(Trouble::IgnoreRange) => None,
            Some(Trouble::WrongRange) => from.map(|from| from / 2),
            _ => from,
        };
        let part = &body[start.unwrap_or(0).min(body.len())..];
        let range = start.map(|at| {
            format!(
                "Content-Range: bytes {at}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            )
        });
        let status = if start.is_some() {
            "206 Partial Content"
        } else {
            "200 OK"
        };
        let range = range.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{range}Connection: close\r\n\r\n",
            part.len()
        );
        stream.write_all(head.as_bytes())?;
        let sent = match trouble {
            Some(Trouble::CutAfter(bytes)) => &part[..bytes.min(part.len())],
            Some(Trouble::Drip(bytes, pause)) => {
                let (at_once, rest) = part.split_at(bytes.min(part.len()));
                stream.write_all(at_once)?;
                for byte in rest {
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                    stream.write_all(&[*byte])?;
                }
                &[]
            }
            _ => part,
        };
        stream.write_all(sent)?;
        stream.shutdown(Shutdown::Write)
    }
}
