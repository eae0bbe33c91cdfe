//! The program as a process of its own, on the database and the sandbox of a world.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Browser, PASSWORD, World, location};

/// It can be killed and restarted on the same port.
pub struct Program {
    pub port: u16,
    pub settings: Vec<(&'static str, String)>,
    directory: PathBuf,
    _site: tempfile::TempDir,
    child: Mutex<Child>,
}

impl Program {
    pub async fn start(world: &World, more: &[(&'static str, &str)]) -> Self {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let site = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(site.path().join("pkg")).unwrap();
        // Asset names from the build's hash file.
        let program = Path::new(env!("CARGO_BIN_EXE_entrepost"));
        let hashes = std::fs::read_to_string(program.with_file_name("hash.txt")).ok();
        for kind in ["js", "css"] {
            let hash = hashes.as_deref().and_then(|text| {
                text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(": ").map(str::trim))
            });
            let name = hash.map_or(format!("entrepost.{kind}"), |hash| format!("entrepost.{hash}.{kind}"));
            std::fs::write(site.path().join("pkg").join(name), "").unwrap();
        }
        let mut settings = world.settings.clone();
        settings.retain(|(name, _)| *name != "ENTREPOST_PUBLIC_URL");
        settings.push(("ENTREPOST_PUBLIC_URL", format!("http://{{institution}}.localhost:{port}")));
        settings.push(("ENTREPOST_LISTEN", format!("127.0.0.1:{port}")));
        settings.push(("LEPTOS_SITE_ROOT", site.path().display().to_string()));
        settings.push(("ENTREPOST_LOG", "error".to_owned()));
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let directory = world.directory.path().to_owned();
        let child =
            Mutex::new(serve(Command::new(env!("CARGO_BIN_EXE_entrepost")).arg("serve"), &settings, &directory));
        let program = Self { port, settings, directory, _site: site, child };
        program.answers().await;
        program
    }

    async fn answers(&self) {
        let http = reqwest::Client::new();
        let url = format!("http://127.0.0.1:{}/healthz", self.port);
        let answering = async {
            while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), answering).await.expect("it does not answer");
    }

    pub fn with_child<T>(&self, with: impl FnOnce(&mut Child) -> T) -> T {
        with(&mut self.child.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn pid(&self) -> u32 {
        self.with_child(|child| child.id())
    }

    /// SIGKILL: no chance to clean up.
    pub fn kill(&self) {
        self.with_child(|child| {
            child.kill().unwrap();
            child.wait().unwrap();
        });
    }

    pub async fn start_again(&self) {
        self.start_as(Command::new(env!("CARGO_BIN_EXE_entrepost")).arg("serve")).await;
    }

    /// Starts it by another command.
    pub async fn start_as(&self, command: &mut Command) {
        let child = serve(command, &self.settings, &self.directory);
        self.with_child(|old| *old = child);
        self.answers().await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://demo.localhost:{}{path}", self.port)
    }

    pub async fn browser(&self, address: &str) -> Browser {
        let browser = Browser::at(self.port);
        let fields = [("email", address), ("password", PASSWORD)];
        let answer = browser.post(&self.url("/api/sign_in"), &fields).await;
        assert_eq!(location(&answer), "/", "{address} signs in");
        browser
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.with_child(|child| {
            let _ = child.kill();
            let _ = child.wait();
        });
    }
}

/// Variables that choose an allocator, for comparisons.
fn allocator() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| name == "LD_PRELOAD" || name.starts_with("MALLOC_"))
}

fn serve(command: &mut Command, settings: &[(&'static str, String)], directory: &Path) -> Child {
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(allocator())
        .envs(settings.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}
