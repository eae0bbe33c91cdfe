// Sign-in with a different account; sign-in name differs from address; replayed, foreign and expired state.
import type { Page } from "@playwright/test";
import type { Demo } from "../fixtures/demo";
import { expect, test } from "../fixtures/test";
import { accept, ACCOUNT, allowOther, atMicrosoft, begin, comeBack, configure, connect, outcome, signIn, signOut, stop } from "../fixtures/steps";

/** Somebody claims an address whose test message does not arrive in their INBOX. */
async function claimUnproven(page: Page, demo: Demo): Promise<void> {
  await configure(page, demo);
  await allowOther(page, demo.url);
  await begin(page, demo.url, "secretary@demo.example", "office.manager@demo.example");
  await demo.faults({ delivery: "junk" });
  await page.getByRole("button", { name: "Continue with secretary@demo.example" }).click();
  await outcome(page, "failed");
}

test("the wrong account: says who signed in and who was expected; Sign in as … asks for the password", async ({ page, demo }) => {
  await configure(page, demo);
  await signOut(page);
  await signIn(page, demo.url, "user@demo.example");
  await demo.faults({ wrong_account: true });
  await connect(page, demo);
  await expect(page.getByText("You signed in as other@demo.example, but this is the mailbox user@demo.example.").first()).toBeVisible();
  await expect(page.getByRole("button", { name: "Use this address instead" })).toHaveCount(0);
  await demo.faults({ wrong_account: false });
  await page.getByRole("button", { name: "Sign in as user@demo.example" }).click();
  await expect(page.getByLabel("Password")).toBeVisible();
  await atMicrosoft(page, "user@demo.example");
  await accept(page);
  await outcome(page, "passed");
});

test("Continue with an address that is not the mailbox's: refused, and nothing is connected", async ({ page, demo }) => {
  await configure(page, demo);
  await signOut(page);
  await signIn(page, demo.url, "user@demo.example");
  await demo.faults({ wrong_account: true });
  await connect(page, demo);
  await page.getByRole("button", { name: "Continue with user@demo.example" }).click();
  await outcome(page, "failed");
  await expect(stop(page, "identity")).toHaveAttribute("data-status", "failed");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator("[data-mailbox]")).toHaveCount(0);
});

test("a connected mailbox stays what it was when another account signs in afterwards", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await demo.faults({ wrong_account: true });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await page.getByRole("heading", { name: "Pick an account" }).waitFor();
  await page.getByRole("button", { name: "admin@demo.example" }).click();
  await accept(page);
  await page.getByRole("button", { name: "Continue with admin@demo.example" }).click();
  await outcome(page, "failed");
  await page.goto(demo.url + ACCOUNT);
  const mailbox = page.locator('[data-mailbox="connected"]');
  await expect(mailbox.locator('[data-status="passed"]')).toHaveCount(7);
  await expect(mailbox.locator('[data-status="failed"]')).toHaveCount(0);
});

test("Continue with an alias of the mailbox: proven by the message, then connected", async ({ page, demo }) => {
  await configure(page, demo);
  await allowOther(page, demo.url);
  await begin(page, demo.url, "secretary@demo.example", "office.manager@demo.example");
  await page.getByRole("button", { name: "Continue with secretary@demo.example" }).click();
  await outcome(page, "passed");
  await expect(stop(page, "identity")).toContainText("confirmed by the test message");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator('[data-mailbox="connected"]')).toContainText("secretary@demo.example");
});

test("Continue with an alias whose message arrives elsewhere: not proven, nothing is connected", async ({ page, demo }) => {
  await claimUnproven(page, demo);
  await expect(stop(page, "arrival")).toContainText("in the folder Junk");
  await expect(stop(page, "identity")).toContainText("secretary@demo.example isn't confirmed");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator("[data-mailbox]")).toHaveCount(0);
});

test("Use this address instead, where the institution allows it", async ({ page, demo }) => {
  await configure(page, demo);
  await allowOther(page, demo.url);
  await begin(page, demo.url, "admin@demo.example", "other@demo.example");
  await page.getByRole("button", { name: "Use this address instead" }).click();
  await outcome(page, "passed");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator('[data-mailbox="connected"]')).toContainText("other@demo.example");
});

test("sign-in name and address differ: both are used where they belong", async ({ page, demo }) => {
  await configure(page, demo);
  await allowOther(page, demo.url);
  await begin(page, demo.url, "teacher@demo.example", "t.teacher@demo-school.example");
  await outcome(page, "passed");
  await expect(stop(page, "identity")).toContainText("signs in as t.teacher@demo-school.example");
  const mails = await demo.mails();
  expect(mails.find((mail) => mail.mailbox === "teacher@demo.example" && mail.folder === "INBOX")?.raw).toContain("From: teacher@demo.example");
});

test("another address than the account's is refused unless the institution allows it", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await page.getByLabel("Email address").fill("other@demo.example");
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await expect(page.getByRole("alert").first()).toContainText("allows only your Entrepost address");
  await expect(page.getByLabel("Email address")).toHaveValue("other@demo.example");
});

test("one mailbox belongs to one person", async ({ page, demo }) => {
  await configure(page, demo);
  await allowOther(page, demo.url);
  await begin(page, demo.url, "other@demo.example", "other@demo.example");
  await outcome(page, "passed");
  await signOut(page);
  await signIn(page, demo.url, "user@demo.example");
  await page.goto(demo.url + ACCOUNT);
  await page.getByLabel("Email address").fill("other@demo.example");
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await expect(page.getByRole("alert").first()).toContainText("Another person has connected");
});

/** Presses Configure & Test, consents, and answers the address that Microsoft sends the browser back to, without going there. */
async function caught(page: import("@playwright/test").Page, url: string): Promise<string> {
  await page.goto(url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  const form = page.locator("form");
  const authorization = await form.locator('[name="authorization"]').inputValue();
  const action = new URL((await form.getAttribute("action"))!, page.url());
  const answer = await page.request.post(action.href, { form: { authorization, answer: "accept" }, maxRedirects: 0 });
  return answer.headers().location;
}

test("a replayed state works once only", async ({ page, demo }) => {
  await configure(page, demo);
  const address = await caught(page, demo.url);
  await page.goto(address);
  await comeBack(page);
  await outcome(page, "passed");
  await page.goto(address);
  await comeBack(page);
  await expect(page.getByText("This sign-in is no longer valid.")).toBeVisible();
  await expect(page.locator('[data-mailbox="connected"]')).toBeVisible();
});

test("a state that was never given out is refused", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(`${demo.url}/web/home/emails/msexchangeonlineoauth?code=x&state=forged`);
  await comeBack(page);
  await expect(page.getByText("This sign-in is no longer valid.")).toBeVisible();
  await page.goto(`${demo.url}/web/home/emails/msexchangeonlineoauth?error=access_denied&error_description=Forged&state=forged`);
  await comeBack(page);
  await expect(page.getByText("This sign-in is no longer valid.")).toBeVisible();
  await expect(page.getByText("Forged")).toHaveCount(0);
});

test("a foreign state: another browser, and another person", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  const first = await caught(page, demo.url);
  const stranger = await newcomer();
  await signIn(stranger, demo.url, "admin@demo.example");
  await stranger.goto(first);
  await comeBack(stranger);
  await expect(stranger.getByText("This sign-in was started in another browser.")).toBeVisible();

  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await page.waitForURL((url) => url.port === new URL(demo.portal).port);
  const departed = new URL(page.url());
  const state = departed.searchParams.get("state")!;
  await page.goto(demo.url);
  await signOut(page);
  await signIn(page, demo.url, "user@demo.example");
  await page.goto(`${demo.url}/web/home/emails/msexchangeonlineoauth?code=x&state=${state}`);
  await comeBack(page);
  await expect(page.getByText("This sign-in belongs to another person.")).toBeVisible();
});

test("a lost session means start again, and the code is in no address", async ({ page, demo, context }) => {
  await configure(page, demo);
  const address = await caught(page, demo.url);
  await context.clearCookies({ name: "entrepost_session" });
  await page.goto(address);
  await expect(page.getByText("Your Entrepost session ended.")).toBeVisible();
  const link = await page.getByRole("link", { name: "Sign in" }).getAttribute("href");
  expect(link).not.toContain("code");
});

test("an answer of another issuer is refused", async ({ page, demo }) => {
  await configure(page, demo);
  const foreign = await caught(page, demo.url);
  await page.goto(`${foreign}&iss=${encodeURIComponent("https://login.evil.example/v2.0")}`);
  await comeBack(page);
  await outcome(page, "failed");
  await expect(page.locator(".diagnosis").first()).toHaveAttribute("data-cause", "issuer_mismatch");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator("[data-mailbox]")).toHaveCount(0);
});

test.describe("a decision that comes too late", () => {
  test.use({ environment: { ENTREPOST_SIGN_IN_SECONDS: "12" } });

  test("the waiting sign-in is forgotten, and nothing is connected", async ({ page, demo }) => {
    await configure(page, demo);
    await demo.faults({ wrong_account: true });
    await connect(page, demo, "admin@demo.example");
    await expect(page.getByRole("button", { name: "Continue with admin@demo.example" })).toBeVisible();
    const decided = Date.now();
    await expect(() => expect(Date.now() - decided).toBeGreaterThan(12_500)).toPass();
    await page.getByRole("button", { name: "Continue with admin@demo.example" }).click();
    await expect(page.getByText("This sign-in timed out").first()).toBeVisible();
    await page.goto(demo.url + ACCOUNT);
    await expect(page.locator("[data-mailbox]")).toHaveCount(0);
  });
});

test.describe("after the time limit", () => {
  test.use({ environment: { ENTREPOST_SIGN_IN_SECONDS: "1" } });

  test("an expired state is refused", async ({ page, demo, context }) => {
    await configure(page, demo);
    // The cookie expires with the state; the server must refuse the state even with it.
    let cookie = "";
    page.on("response", async (response) => {
      const set = (await response.allHeaders())["set-cookie"] ?? "";
      cookie = /entrepost_attempt=([^;]+)/.exec(set)?.[1] ?? cookie;
    });
    const address = await caught(page, demo.url);
    const started = Date.now();
    await expect(() => expect(Date.now() - started).toBeGreaterThan(1500)).toPass();
    expect(cookie).not.toBe("");
    await context.addCookies([{ name: "entrepost_attempt", value: cookie, url: demo.url }]);
    await page.goto(address);
    await comeBack(page);
    await expect(page.getByText("The sign-in took too long.")).toBeVisible();
    await expect(page.locator("[data-mailbox]")).toHaveCount(0);
  });
});

test("behind a proxy that hides referrers one signs in and configures all the same @script", async ({ page, demo }) => {
  const origins = new Set<string>();
  page.on("request", (request) => {
    if (request.method() === "POST") void request.allHeaders().then((headers) => origins.add(headers["origin"] ?? ""));
  });
  // Origin and Referer as a proxy with `Referrer-Policy: no-referrer` causes.
  await page.addInitScript(() =>
    document.addEventListener("DOMContentLoaded", () => {
      if (!location.hostname.startsWith("demo.")) return;
      const policy = document.createElement("meta");
      policy.name = "referrer";
      policy.content = "no-referrer";
      document.head.append(policy);
    }),
  );
  await signIn(page, demo.url, "admin@demo.example");
  await signOut(page);
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  expect([...origins], "what became of the origin").toContain("null");
});

test("an address that somebody claimed and did not prove stays free for the one who does", async ({ page, demo, newcomer }) => {
  await claimUnproven(page, demo);
  await demo.faults({ delivery: "inbox" });
  const colleague = await newcomer();
  await signIn(colleague, demo.url, "user@demo.example");
  await colleague.goto(demo.url + ACCOUNT);
  await colleague.getByLabel("Email address").fill("secretary@demo.example");
  await colleague.getByRole("button", { name: "Configure & Test" }).click();
  // The account has already consented.
  await atMicrosoft(colleague, "office.manager@demo.example");
  await comeBack(colleague);
  await colleague.getByRole("button", { name: "Continue with secretary@demo.example" }).click();
  await outcome(colleague, "passed");
  await colleague.goto(demo.url + ACCOUNT);
  await expect(colleague.locator('[data-mailbox="connected"]')).toContainText("secretary@demo.example");
});
