//! Programs that others wrote send through the relay: swaks, msmtp, curl, Python, nodemailer, PHP.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::common::Database;
use crate::common::relay::{Given, RelayWorld};

const MESSAGE: &str =
    "From: Scanner <scanner@old.example>\r\nTo: admin@demo.example\r\nSubject: A scan\r\n\r\nPage 1\r\n";

/// How a client reaches the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    StartTls,
    Tls,
    Plain,
}

struct Client {
    program: &'static str,
    arguments: Vec<String>,
    input: String,
}

fn client(program: &'static str, arguments: &[&str], input: &str) -> Client {
    Client { program, arguments: arguments.iter().map(|text| (*text).to_owned()).collect(), input: input.to_owned() }
}

/// msmtp takes its password from a file.
fn msmtp(directory: &std::path::Path, way: Way, port: u16, device: &Given) -> String {
    let (tls, starttls) = match way {
        Way::StartTls => ("on", "on"),
        Way::Tls => ("on", "off"),
        Way::Plain => ("off", "off"),
    };
    let auth = if way == Way::Plain {
        "auth off".to_owned()
    } else {
        format!("auth on\nuser {}\npassword {}", device.login, device.password)
    };
    let text = format!(
        "account default\nhost 127.0.0.1\nport {port}\ntls {tls}\ntls_starttls {starttls}\ntls_certcheck off\nfrom scanner@old.example\n{auth}\n"
    );
    let path = directory.join(format!("msmtprc-{port}"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn clients(directory: &std::path::Path, way: Way, port: u16, device: &Given) -> Vec<Client> {
    let (user, password) = (device.login.as_str(), device.password.as_str());
    let port_text = port.to_string();
    let scheme = if way == Way::Tls { "smtps" } else { "smtp" };
    let url = format!("{scheme}://127.0.0.1:{port}");
    let credentials = format!("{user}:{password}");
    let mut all = Vec::new();
    let mut swaks = vec![
        "--server",
        "127.0.0.1",
        "--port",
        &port_text,
        "--from",
        "scanner@old.example",
        "--to",
        "admin@demo.example",
        "--data",
        "-",
    ];
    match way {
        Way::StartTls => swaks.push("--tls"),
        Way::Tls => swaks.push("--tls-on-connect"),
        Way::Plain => {}
    }
    if way != Way::Plain {
        swaks.extend(["--auth", "LOGIN", "--auth-user", user, "--auth-password", password]);
    }
    all.push(client("swaks", &swaks, MESSAGE));
    let mut curl = vec![
        "--silent",
        "--show-error",
        "--insecure",
        "--url",
        &url,
        "--mail-from",
        "scanner@old.example",
        "--mail-rcpt",
        "admin@demo.example",
        "--upload-file",
        "-",
    ];
    if way == Way::StartTls {
        curl.push("--ssl-reqd");
    }
    if way != Way::Plain {
        curl.extend(["--user", &credentials]);
    }
    all.push(client("curl", &curl, MESSAGE));
    let rc = msmtp(directory, way, port, device);
    all.push(client("msmtp", &["-C", &rc, "admin@demo.example"], MESSAGE));
    let python = format!(
        "import smtplib, ssl, sys\ncontext = ssl._create_unverified_context()\nway = '{way:?}'\ns = smtplib.SMTP_SSL('127.0.0.1', {port}, context=context) if way == 'Tls' else smtplib.SMTP('127.0.0.1', {port})\nif way == 'StartTls': s.starttls(context=context)\nif way != 'Plain': s.login('{user}', '{password}')\ns.sendmail('scanner@old.example', ['admin@demo.example'], sys.stdin.read())\ns.quit()\n"
    );
    all.push(client("python3", &["-c", &python], MESSAGE));
    let auth =
        if way == Way::Plain { "undefined".to_owned() } else { format!("{{ user: '{user}', pass: '{password}' }}") };
    let node = format!(
        "const {{ createTransport }} = require('nodemailer'); createTransport({{ host: '127.0.0.1', port: {port}, secure: {}, requireTLS: {}, ignoreTLS: {}, auth: {auth}, tls: {{ rejectUnauthorized: false }} }}).sendMail({{ from: 'Scanner <scanner@old.example>', to: 'admin@demo.example', subject: 'A scan', text: 'Page 1' }}).catch(error => {{ console.error(error); process.exit(1); }})",
        way == Way::Tls,
        way == Way::StartTls,
        way == Way::Plain,
    );
    all.push(client("node", &["-e", &node], ""));
    let sendmail = format!("sendmail_path=msmtp -C {rc} -t");
    let php = "exit(mail('admin@demo.example', 'A scan', 'Page 1', 'From: Scanner <scanner@old.example>') ? 0 : 1);";
    all.push(client("php", &["-d", &sendmail, "-r", php], ""));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_others_wrote_send_through_it() {
    let database = Database::sqlite();
    let world = RelayWorld::start(&database).await;
    let device = world.device("Copier", &[]).await;
    world.device("Plain", &[("networks", "127.0.0.1"), ("by_address", "yes")]).await;
    let modules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../end2end/node_modules");
    let mut expected = 0;
    for (way, address) in
        [(Way::StartTls, world.bound.starttls), (Way::Tls, world.bound.tls), (Way::Plain, world.bound.plain)]
    {
        for Client { program, arguments, input } in
            clients(world.directory.path(), way, address.unwrap().port(), &device)
        {
            let mut command = tokio::process::Command::new(program);
            command.args(&arguments).env("NODE_PATH", &modules).stdin(Stdio::piped());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut running =
                command.spawn().unwrap_or_else(|error| panic!("{program}: {error} (make setup installs it)"));
            running.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
            let ended = running.wait_with_output().await.unwrap();
            let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
            assert!(ended.status.success(), "{program}, {way:?}: {said}");
            expected += 1;
        }
    }
    world.deliver().await;
    let arrived = world.inbox("admin@demo.example");
    assert_eq!(arrived.len(), expected);
    for raw in &arrived {
        assert!(
            raw.contains("<user@demo.example>") && raw.contains("Subject: A scan") && raw.contains("Page 1"),
            "{raw}"
        );
    }
    world.services.store.close().await;
}
