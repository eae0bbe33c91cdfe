//! A browser without a screen.

use std::net::SocketAddr;

use super::{PASSWORD, World};

/// An HTTP client with cookies and forms; it doesn't follow redirects by itself.
pub struct Browser {
    pub http: reqwest::Client,
}

impl Browser {
    pub fn new(world: &World) -> Self {
        Self::at(world.port)
    }

    /// A client for a port.
    pub fn at(port: u16) -> Self {
        // `*.localhost` resolves to loopback in browsers; here it's configured.
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let http = reqwest::Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .resolve("demo.localhost", address)
            .resolve("second.localhost", address)
            .resolve("nobody.localhost", address)
            .build()
            .unwrap();
        Self { http }
    }

    pub async fn get(&self, url: &str) -> reqwest::Response {
        self.http.get(url).header("accept", "text/html").send().await.unwrap()
    }

    /// Posts a same-origin form.
    pub async fn post(&self, url: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let origin = url::Url::parse(url).unwrap().origin().ascii_serialization();
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.http
            .post(url)
            .header("accept", "text/html")
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Posts a multipart form.
    pub async fn post_parts(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        files: &[(&str, &str, &[u8])],
    ) -> reqwest::Response {
        let origin = url::Url::parse(url).unwrap().origin().ascii_serialization();
        let mut form = reqwest::multipart::Form::new();
        for (name, value) in fields {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        for (name, kind, bytes) in files {
            let part = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name((*name).to_owned());
            form = form.part("files", part.mime_str(kind).unwrap());
        }
        self.http.post(url).header("accept", "text/html").header("origin", origin).multipart(form).send().await.unwrap()
    }

    pub async fn sign_in(&self, world: &World, slug: &str, address: &str) {
        let answer = self.post(&world.url(slug, "/api/sign_in"), &[("email", address), ("password", PASSWORD)]).await;
        assert_eq!(location(&answer), "/", "{address} signs in");
    }

    /// Signs in at the sandbox; returns the redirect URL.
    pub async fn at_microsoft(&self, world: &World, authorize: &str, name: &str) -> String {
        let page = self.get(authorize).await.text().await.unwrap();
        let between = |page: &str, from: &str| page.split(from).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let authorization = between(&page, "name=\"authorization\" value=\"");
        let tenant = world.sandbox.world().tenant_id;
        let base = url::Url::parse(authorize).unwrap().origin().ascii_serialization();
        let fields = [("authorization", authorization.as_str()), ("username", name), ("password", "sandbox")];
        let answer = self.post(&format!("{base}/{tenant}/login"), &fields).await;
        let to = location(&answer);
        if !to.is_empty() {
            return to;
        }
        let answer = self
            .post(
                &format!("{base}/{tenant}/consent"),
                &[("authorization", authorization.as_str()), ("answer", "accept")],
            )
            .await;
        location(&answer)
    }
}

/// Target of a redirect, or of a page that forwards to the authority.
pub fn location(answer: &reqwest::Response) -> String {
    let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let forwards = || Some(header("refresh")?.strip_prefix("0;url=")?.to_owned());
    header("location").or_else(forwards).unwrap_or_default()
}

/// The session cookie of a new sign-in at `demo`, for raw requests.
pub async fn session_cookie(world: &World, address: &str) -> String {
    let fields = [("email", address), ("password", PASSWORD)];
    let answer = Browser::new(world).post(&world.url("demo", "/api/sign_in"), &fields).await;
    let given = answer.headers().get_all("set-cookie").into_iter().map(|value| value.to_str().unwrap());
    let mut cookies = given.filter_map(|value| value.split(';').next());
    cookies.find(|cookie| cookie.starts_with("entrepost_session")).unwrap().to_owned()
}

/// Hands Microsoft's answer over; returns the next page.
pub async fn complete(browser: &Browser, world: &World, slug: &str, back: &str) -> String {
    let mut back = back.to_owned();
    loop {
        let parsed = url::Url::parse(&back).unwrap();
        let mut fields: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
        fields.push(("plain".into(), "1".into()));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let next = location(&browser.post(&world.url(slug, "/api/complete_sign_in"), &fields).await);
        if next.starts_with('/') {
            return next;
        }
        // The mailbox is asked for once the person is known: Microsoft answers without a page.
        back = location(&browser.get(&next).await);
        assert!(back.contains("state="), "{next}");
    }
}

/// Connects the person's own mailbox with a password session; returns the page of the attempt once it is finished.
pub async fn connects_with_a_password(world: &World, address: &str) -> String {
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", address).await;
    let fields = [("email", address)];
    let authorize = location(&browser.post(&world.url("demo", "/api/configure_and_test"), &fields).await);
    let back = browser.at_microsoft(world, &authorize, address).await;
    let attempt = complete(&browser, world, "demo", &back).await;
    let page = async || browser.get(&world.url("demo", &attempt)).await.text().await.unwrap();
    world.until(async || page().await.contains("data-stage=\"finished\"")).await;
    page().await
}
