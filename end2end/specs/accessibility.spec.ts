// axe (WCAG 2.2 AA, color-contrast included) on every page and state, light and dark, wide and narrow.
import { accessible, expect, test } from "../fixtures/test";
import { accept, ACCOUNT, atMicrosoft, CONFIG, configure, connect, fillRegistration, outcome, pick, save, signIn } from "../fixtures/steps";
import { mkdir } from "node:fs/promises";

const LOOKS = [
  { width: 1280, scheme: "light" },
  { width: 1280, scheme: "dark" },
  { width: 360, scheme: "light" },
  { width: 360, scheme: "dark" },
] as const;

test.setTimeout(180_000);

/** Checks a state in every look; with ENTREPOST_PICTURES set to a directory it also leaves pictures there. */
async function everyLook(page: import("@playwright/test").Page, name: string): Promise<void> {
  const pictures = process.env.ENTREPOST_PICTURES;
  if (pictures) await mkdir(pictures, { recursive: true });
  for (const { width, scheme } of LOOKS) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await accessible(page);
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(sideways, `${name} at ${width} px scrolls sideways`).toBeLessThanOrEqual(0);
    if (pictures) await page.screenshot({ path: `${pictures}/${name}-${width}-${scheme}.png`, fullPage: true });
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

test("before and at the sign-in", async ({ page, demo }) => {
  await page.goto(`${demo.url}/login`);
  await everyLook(page, "login");
  await page.getByLabel("Email").fill("user@demo.example");
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByText("Email or password is wrong.")).toBeVisible();
  await everyLook(page, "login-wrong");
  for (let wrong = 0; wrong < 20 && !(await page.getByText("Too many attempts.").isVisible()); wrong++) {
    await page.getByLabel("Email").fill("user@demo.example");
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByText(/Email or password is wrong\.|Too many attempts\./)).toBeVisible();
  }
  await expect(page.getByText("Too many attempts.")).toBeVisible();
  await everyLook(page, "login-throttled");
  await page.goto(`${demo.url}/invitation/unknown`);
  await everyLook(page, "invitation-unknown");
  await page.goto(`${demo.url}/no/such/page`);
  await everyLook(page, "not-found");
  await page.goto(`${demo.url}/web/home/emails/msexchangeonlineoauth?code=x&state=y`);
  await everyLook(page, "callback-signed-out");
});

test("empty states of a user, and what a user may not open", async ({ page, demo }) => {
  await signIn(page, demo.url, "user@demo.example");
  await everyLook(page, "home-empty");
  await page.goto(demo.url + ACCOUNT);
  await everyLook(page, "account-not-ready");
  await page.goto(demo.url + CONFIG);
  await everyLook(page, "forbidden");
  await page.locator(".user-button").click();
  await everyLook(page, "menu");
});

test("the configuration: empty, refused, verified, unverified, waiting", async ({ page, demo }) => {
  await signIn(page, demo.url, "admin@demo.example");
  await everyLook(page, "home-admin");
  await page.goto(demo.url + CONFIG);
  await everyLook(page, "config-empty");
  const app = await demo.registration();
  await fillRegistration(page, demo, { secret: app.secret_id });
  await save(page);
  await everyLook(page, "config-secret-id");
  await fillRegistration(page, demo, { secret: "wrong~secret" });
  await save(page);
  await expect(page.locator("#client_secret-error")).toBeVisible();
  await everyLook(page, "config-refused");
  await demo.faults({ unavailable: true });
  await fillRegistration(page, demo);
  await save(page);
  await expect(page.getByText("These values are unverified.")).toBeVisible();
  await everyLook(page, "config-unverified");
  await demo.faults({ unavailable: false });
  await page.getByRole("button", { name: "Verify again" }).click();
  await expect(page.getByText("IDs and secret are right.").first()).toBeVisible();
  await everyLook(page, "config-verified");
  await page.getByLabel("Yes", { exact: true }).check();
  await page.getByLabel("Custom From address").fill("noreply@demo.example");
  await save(page);
  await expect(page.getByText("IDs and secret are right.").first()).toBeVisible();
  await demo.faults({ unavailable: true });
  await fillRegistration(page, demo);
  await save(page);
  await expect(page.getByRole("heading", { name: "New values wait" })).toBeVisible();
  await everyLook(page, "config-waiting-custom");
});

test("Microsoft is away from the first Save on", async ({ page, demo }) => {
  await signIn(page, demo.url, "admin@demo.example");
  await page.goto(demo.url + CONFIG);
  await demo.faults({ unavailable: true });
  await fillRegistration(page, demo);
  await save(page);
  await expect(page.getByText("These values are unverified.")).toBeVisible();
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await page.getByText("Evidence (copy it for support)").click();
  await everyLook(page, "account-microsoft-away");
});

test("connecting: running, connected, blocked, refused, deciding, needs reconnecting", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await everyLook(page, "account-first");
  await demo.faults({ slow_ms: 2500 });
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  await accept(page);
  await page.waitForURL(/\/attempts\//);
  await expect(page.locator('.attempt [data-status="running"]')).toBeVisible();
  await everyLook(page, "attempt-running");
  await demo.faults({ slow_ms: 0 });
  await outcome(page, "passed");
  await everyLook(page, "attempt-passed");
  await page.goto(demo.url + ACCOUNT);
  await everyLook(page, "account-connected");
  await page.goto(demo.url);
  await everyLook(page, "home-connected");

  await demo.newClientId();
  await page.goto(demo.url + CONFIG);
  await fillRegistration(page, demo);
  await save(page);
  await expect(page.getByRole("button", { name: "Use the new values" })).toBeVisible();
  await everyLook(page, "config-accepted-waiting");
  await page.getByRole("button", { name: "Use the new values" }).click();
  await expect(page.getByRole("heading", { name: "New values wait" })).toBeHidden();
  await page.goto(demo.url + ACCOUNT);
  await everyLook(page, "account-registration-changed");
  await page.getByRole("button", { name: "Connect again" }).first().click();
  await pick(page, "admin@demo.example");
  await outcome(page, "passed");

  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await page.getByRole("heading", { name: "Pick an account" }).waitFor();
  await page.goto(demo.url + ACCOUNT);
  await page.locator(".history a").first().click();
  await expect(page.getByText("Waiting for Microsoft.")).toBeVisible();
  await everyLook(page, "attempt-at-microsoft");
  await page.goto(demo.portal);
  await everyLook(page, "portal");

  await demo.faults({ smtp_auth: "mailbox" });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "failed");
  await everyLook(page, "attempt-blocked-admin");
  await page.goto(demo.url + ACCOUNT);
  await everyLook(page, "account-blocked");
  await page.goto(`${demo.url}/institution/users`);
  await page.locator(".person-mailbox > .more > summary").click();
  await everyLook(page, "users-blocked");
  await page.goto(`${demo.url}/mail/compose`);
  await expect(page.getByText("waits in the outbox")).toBeVisible();
  await everyLook(page, "compose-blocked");
  await page.goto(demo.url + ACCOUNT);
  await demo.faults({ smtp_auth: "on", grants_revoked: true });
  await page.getByRole("button", { name: "Try again" }).click();
  await outcome(page, "failed");
  await page.goto(demo.url + ACCOUNT);
  await everyLook(page, "account-needs-reconnect");
  await demo.faults({ grants_revoked: false });
  await page.getByRole("button", { name: "Connect again" }).first().click();
  await pick(page, "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await page.getByLabel("Email Provider").selectOption({ label: "System default" });
  await save(page);
  await expect(page.getByText("Stop using MS Exchange Online?")).toBeVisible();
  await everyLook(page, "config-system-default");
  await page.getByLabel("Yes, end the connections").check();
  await save(page);
  await expect(page.getByText("The institution uses the system default.")).toBeVisible();
  await page.goto(demo.url + ACCOUNT);
  await everyLook(page, "account-provider-changed");
});

test("lists, ends and questions: attempts, not seen, nothing to complete, removal, disabled", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  await page.goto(`${demo.url}/web/home/emails/msexchangeonlineoauth`);
  await everyLook(page, "callback-nothing");
  await page.goto(`${demo.url}/account/email/attempts`);
  await everyLook(page, "attempts-none");
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(`${demo.url}/account/email/attempts`);
  await everyLook(page, "attempts");
  await page.goto(`${demo.url}/institution/config/general/email/attempts`);
  await everyLook(page, "attempts-notifications");
  await page.goto(demo.url + CONFIG);
  await page.getByLabel("Remove the stored secret and the registration").check();
  await save(page);
  await expect(page.getByText("Remove the secret?")).toBeVisible();
  await everyLook(page, "config-remove");
  await page.goto(demo.url + CONFIG);
  await page.getByLabel("Yes", { exact: true }).check();
  await page.getByLabel("Custom From address").fill("noreply@demo.example");
  await page.getByLabel("Secret expires on").fill(new Date(Date.now() + 10 * 86_400_000).toISOString().slice(0, 10));
  await save(page);
  await page.getByLabel("Send through a connected mailbox").selectOption({ label: "admin@demo.example" });
  await page.getByRole("button", { name: "Test this pair" }).click();
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await expect(page.getByText("The Client Secret expires in")).toBeVisible();
  await everyLook(page, "config-expiring-pair");
  await page.goto(`${demo.url}/institution/users`);
  const user = page.locator('[data-person="user@demo.example"]');
  await user.getByText("Change user@demo.example").click();
  await user.getByRole("button", { name: "Disable" }).click();
  await expect(page.getByText("user@demo.example is disabled.")).toBeVisible();
  await everyLook(page, "users-disabled");
  const stranger = await newcomer();
  await stranger.goto(demo.url.replace("//demo.", "//nobody."));
  await everyLook(stranger, "unknown-host");
});

test.describe("with a short patience", () => {
  test.use({ environment: { ENTREPOST_ARRIVAL_SECONDS: "1" } });

  test("a test message that is not seen", async ({ page, demo }) => {
    await configure(page, demo);
    await demo.faults({ delivery: "nowhere" });
    await connect(page, demo, "admin@demo.example");
    await outcome(page, "not_seen");
    await everyLook(page, "attempt-not-seen");
    await page.goto(demo.url + ACCOUNT);
    await everyLook(page, "account-not-seen");
  });
});

test("mail: nobody connected, an empty form, refused, an outbox of every kind", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(`${demo.url}/mail/compose`);
  await everyLook(page, "compose-not-connected");
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(`${demo.url}/mail/outbox`);
  await everyLook(page, "outbox-empty");
  await page.goto(`${demo.url}/mail/compose`);
  await everyLook(page, "compose");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.locator("#to-error")).toBeVisible();
  await everyLook(page, "compose-refused");
  const write = async (to: string, subject: string, state: string) => {
    await page.goto(`${demo.url}/mail/compose`);
    await page.getByLabel("To", { exact: true }).fill(to);
    await page.getByLabel("Subject").fill(subject);
    await page.getByRole("button", { name: "Send" }).click();
    await expect(page.locator(".delivery").first()).toHaveAttribute("data-state", state);
  };
  await write("other@demo.example, nobody@demo.example", "Sent, but not to everybody", "sent");
  await write("nobody@demo.example", "To nobody", "failed");
  await demo.faults({ cut_after_data: true });
  await write("other@demo.example", "A rather long subject that says everything about the meeting of all classes on the first Tuesday", "unknown");
  await demo.faults({ cut_after_data: false, throttled: true });
  await write("other@demo.example", "Later", "deferred");
  await everyLook(page, "outbox");
});

test("the inbox: fetching, lists, messages, drafts, answers", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(`${demo.url}/mail/inbox`);
  await everyLook(page, "inbox-not-connected");
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(`${demo.url}/mail/drafts`);
  await everyLook(page, "drafts-empty");
  const mail = (subject: string, body: string, kind = "Content-Type: text/plain; charset=utf-8") =>
    `From: Ann Example <ann@far.example>\nTo: admin@demo.example, Bob <bob@far.example>\nCc: cy@far.example\nSubject: ${subject}\nMessage-ID: <${crypto.randomUUID()}@far.example>\nMIME-Version: 1.0\n${kind}\n\n${body}\n`;
  await demo.deliver("admin@demo.example", mail("A rather long subject that says everything about the meeting of all classes on the first Tuesday", "Good morning,\n\nsee you there.\n\nAnn"));
  await demo.deliver("admin@demo.example", mail("Newsletter", "<h1>News</h1><p>With a <a href='https://far.example'>link</a> and a picture.</p><img src='https://far.example/a.png' alt='A picture'>", "Content-Type: text/html"));
  await demo.deliver("admin@demo.example", mail("With a file", "--b\nContent-Type: text/plain\n\nSee the file.\n--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=plan.pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0x\n--b--", "Content-Type: multipart/mixed; boundary=b"));
  await page.goto(`${demo.url}/mail/inbox`);
  await expect(page.locator(".mail-row")).toHaveCount(4);
  await page.locator(".mail-row").nth(1).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Flag", exact: true }).click();
  await expect(page.getByText("1 message flagged.")).toBeVisible();
  await everyLook(page, "inbox");
  await page.getByRole("link", { name: /With a file/ }).click();
  await expect(page.locator(".mail-text")).toBeVisible();
  await everyLook(page, "message-text");
  await page.goBack();
  await page.getByRole("link", { name: /Newsletter/ }).click();
  await expect(page.frameLocator("iframe").getByRole("heading", { name: "News" })).toBeVisible();
  await everyLook(page, "message-html");
  await page.getByRole("button", { name: "Reply all" }).click();
  await expect(page.getByLabel("Subject")).toHaveValue("Re: Newsletter");
  await page.getByLabel("Attachments").setInputFiles({ name: "a-file-with-a-rather-long-name-that-has-to-break-somewhere.txt", mimeType: "text/plain", buffer: Buffer.from("Hello") });
  await expect(page.locator(".attachments li")).toHaveCount(1);
  await everyLook(page, "compose-answer");
  await page.goto(`${demo.url}/mail/drafts`);
  await everyLook(page, "drafts");
  await page.goto(`${demo.url}/mail/inbox?search=nothing+like+this`);
  await expect(page.getByText("Nothing found.")).toBeVisible();
  await everyLook(page, "inbox-nothing-found");
  await page.goto(`${demo.url}/mail/message?mailbox=${crypto.randomUUID()}&folder=INBOX&validity=1&uid=1`);
  await everyLook(page, "message-not-there");
  await demo.faults({ grants_revoked: true });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "failed");
  await page.goto(`${demo.url}/mail/inbox`);
  await everyLook(page, "inbox-needs-reconnect");
});

test("what goes wrong: declined, two at once, unproven, a failing sender, consent refused", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  await page.getByRole("button", { name: "Cancel" }).click();
  await outcome(page, "failed");
  await everyLook(page, "attempt-declined");
  await demo.faults({ smtp_auth: "mailbox", imap_disabled: true });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await page.getByRole("heading", { name: "Pick an account" }).waitFor();
  await page.getByRole("button", { name: "admin@demo.example" }).click();
  await accept(page);
  await outcome(page, "failed");
  await everyLook(page, "attempt-two-at-once");
  await page.goto(`${demo.url}/`);
  await everyLook(page, "home-blocked");
  await demo.faults({ smtp_auth: "on", imap_disabled: false });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Try again" }).click();
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await page.getByLabel("Yes").check();
  await page.getByLabel("Custom From address").fill("noreply@demo.example");
  await save(page);
  await expect(page.getByRole("button", { name: "Test this pair" })).toBeVisible();
  await everyLook(page, "config-custom-from");
  await demo.faults({ send_as_denied: true });
  await page.getByRole("button", { name: "Test this pair" }).click();
  await outcome(page, "failed");
  await everyLook(page, "attempt-pair-failed");
  await page.goto(`${demo.url}/web/home/emails/msexchangeonlineoauth?error=access_denied&error_description=No&state=consent-for-all`);
  await everyLook(page, "consent-refused");
  await page.goto(`${demo.url}/web/home/emails/msexchangeonlineoauth?admin_consent=True&tenant=x&state=consent-for-all`);
  await everyLook(page, "consent-granted-by-link");
});

test("a user's diagnosis, the choice, and the list of people", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  const theirs = await newcomer();
  await signIn(theirs, demo.url, "user@demo.example");
  await demo.faults({ smtp_auth: "mailbox" });
  await connect(theirs, demo);
  await outcome(theirs, "failed");
  for (const summary of await theirs.locator(".diagnosis summary").all()) await summary.click();
  await everyLook(theirs, "attempt-blocked-user");
  await demo.faults({ smtp_auth: "on", wrong_account: true });
  await theirs.goto(demo.url + ACCOUNT);
  await theirs.getByRole("button", { name: "Configure & Test" }).click();
  await theirs.getByRole("heading", { name: "Pick an account" }).waitFor();
  await theirs.getByRole("button", { name: "user@demo.example" }).click();
  await accept(theirs);
  await expect(theirs.getByText("How do you want to go on?")).toBeVisible();
  await everyLook(theirs, "attempt-deciding");

  await page.goto(`${demo.url}/institution/users`);
  await page.getByLabel("Email", { exact: true }).fill("a.very.long.name.of.a.person.with.a.long.address@school-with-a-long-name.demo.example");
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  await expect(page.getByText("is invited.")).toBeVisible();
  for (const summary of await page.locator(".people summary").all()) await summary.click();
  await everyLook(page, "users");
  const link = await page.locator(".copyable code").first().innerText();
  const invited = await newcomer();
  await invited.goto(link);
  await everyLook(invited, "invitation");
});
