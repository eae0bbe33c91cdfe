// Faults in Configure & Test and their diagnoses.
import { expect, isPlain, test } from "../fixtures/test";
import { accept, ACCOUNT, atMicrosoft, configure, connect, decline, outcome, pick, signIn, signOut, stop } from "../fixtures/steps";

type Case = { name: string; faults: Record<string, boolean | number | string>; cause: string; says: string | RegExp; failed: string; notRun?: string[]; consent?: boolean };

const CASES: Case[] = [
  { name: "client secret expired", faults: { secret_expired: true }, cause: "secret_expired", says: "Your institution's app can no longer sign in at Microsoft.", failed: "sign_in", notRun: ["token", "smtp", "imap", "arrival"] },
  { name: "SMTP AUTH off for the mailbox", faults: { smtp_auth: "mailbox" }, cause: "smtp_auth_mailbox", says: "Sending is switched off for this mailbox.", failed: "smtp", notRun: ["test_message", "arrival"] },
  { name: "SMTP AUTH off for the tenant", faults: { smtp_auth: "tenant" }, cause: "smtp_auth_tenant", says: "Sending is switched off for the whole institution.", failed: "smtp" },
  { name: "SMTP AUTH off by security defaults", faults: { smtp_auth: "security_defaults" }, cause: "smtp_auth_security_defaults", says: "Your institution's security defaults block sending.", failed: "smtp" },
  { name: "IMAP disabled", faults: { imap_disabled: true }, cause: "imap_disabled", says: "Receiving is switched off for this mailbox.", failed: "imap", notRun: ["arrival"] },
  { name: "consent missing", faults: { consent_missing: true }, cause: "consent_missing", says: "An administrator must allow the app first.", failed: "sign_in", consent: false },
  { name: "throttled", faults: { throttled: true }, cause: "smtp_throttled", says: "Microsoft is slowing this mailbox down.", failed: "test_message" },
  { name: "connection cut in the middle of DATA", faults: { cut_in_data: true }, cause: "smtp_cut_unknown", says: "The connection dropped before Microsoft confirmed the message.", failed: "test_message" },
  { name: "connection cut before DATA", faults: { cut_before_data: true }, cause: "smtp_silent", says: "The connection to Microsoft's mail server dropped.", failed: "test_message" },
  { name: "connection cut after DATA", faults: { cut_after_data: true }, cause: "smtp_cut_unknown", says: "The connection dropped before Microsoft confirmed the message.", failed: "test_message" },
  { name: "a temporary error", faults: { smtp_reply: "451 4.3.0 Temporary server error. Please try again later" }, cause: "smtp_later", says: "Microsoft's mail server asks to try again later.", failed: "test_message" },
  { name: "the tenant is blocked", faults: { smtp_reply: "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP" }, cause: "smtp_tenant_blocked", says: /./, failed: "test_message" },
  { name: "IMAP throttled", faults: { imap_throttled: true }, cause: "imap_throttled", says: "Microsoft is slowing this mailbox down.", failed: "imap", notRun: ["arrival"] },
  { name: "Send As denied", faults: { send_as_denied: true }, cause: "send_as_itself", says: "This mailbox isn't allowed to send as user@demo.example.", failed: "test_message" },
  { name: "SMTP.Send missing", faults: { smtp_scope_missing: true }, cause: "permissions_missing", says: "The app lacks a permission.", failed: "token", notRun: ["smtp", "test_message", "imap", "arrival"] },
  { name: "second factor needed", faults: { token_error: 50076 }, cause: "mfa", says: "Microsoft asks for a second factor.", failed: "sign_in" },
  { name: "Conditional Access", faults: { token_error: 53003 }, cause: "conditional_access", says: "A security policy of your institution blocked the sign-in.", failed: "sign_in" },
  { name: "a provider without AADSTS numbers", faults: { secret_expired: true, plain_errors: true }, cause: "secret_wrong", says: "Your institution's app can't sign in at Microsoft.", failed: "sign_in" },
];

for (const one of CASES) {
  test(`${one.name}: says what, who can fix it, and how`, async ({ page, demo }) => {
    await configure(page, demo);
    await signOut(page);
    await signIn(page, demo.url, "user@demo.example");
    await demo.faults(one.faults);
    await connect(page, demo, "user@demo.example", one.consent ?? true);
    await outcome(page, "failed");
    await expect(page.locator(".attempt .banner-title").first()).toContainText(one.says);
    await expect(page.locator(".diagnosis").first()).toHaveAttribute("data-cause", one.cause);
    await expect(stop(page, one.failed)).toHaveAttribute("data-status", "failed");
    for (const check of one.notRun ?? []) await expect(stop(page, check)).toContainText("not run");
    // IMAP is checked even if SMTP fails.
    if (one.failed === "smtp") await expect(stop(page, "imap")).toHaveAttribute("data-status", "passed");
    await page.locator("summary").filter({ hasText: "Technical details" }).first().click();
    await expect(page.locator(".evidence").first()).toContainText("Time");
    if (!isPlain(page)) await expect(page.getByRole("button", { name: "Copy technical details" }).first()).toBeVisible();
  });
}

test("Entra unavailable: nothing is connected, and trying again is offered", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  await demo.faults({ unavailable: true });
  await accept(page);
  await outcome(page, "failed");
  await expect(page.locator(".attempt .banner-title").first()).toContainText("Microsoft is not available right now.");
  await demo.faults({ unavailable: false });
  await page.getByRole("button", { name: "Sign in again" }).click();
  await pick(page, "admin@demo.example");
  await outcome(page, "passed");
});

test("a slow Microsoft: the page shows what runs, and everything passes", async ({ page, demo }) => {
  await configure(page, demo);
  await demo.faults({ slow_ms: 500 });
  await connect(page, demo, "admin@demo.example");
  await expect(page.locator('.attempt [data-status="running"]')).toBeVisible();
  await outcome(page, "passed");
});

test("the sign-in is kept: blocked, then Test again passes without a new sign-in", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  await signOut(page);
  await signIn(page, demo.url, "user@demo.example");
  await demo.faults({ smtp_auth: "mailbox" });
  await connect(page, demo);
  await outcome(page, "failed");
  await expect(page.getByText("You don't need to sign in again.").first()).toBeVisible();
  if (!isPlain(page)) await expect(page.getByRole("button", { name: "Copy message for the administrator" })).toBeVisible();
  await page.getByText("The message", { exact: true }).click();
  await expect(page.locator(".diagnosis pre")).toContainText("Set-CASMailbox -Identity user@demo.example -SmtpClientAuthenticationDisabled $false");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator('[data-mailbox="blocked"]')).toBeVisible();
  const administrator = await newcomer();
  await signIn(administrator, demo.url, "admin@demo.example");
  await administrator.goto(`${demo.url}/institution/users`);
  const person = administrator.locator('[data-person="user@demo.example"]');
  await expect(person).toContainText("A check fails");
  await person.locator(".cause").click();
  await expect(person.getByText("Set-CASMailbox -Identity user@demo.example").first()).toBeVisible();
  await demo.faults({ smtp_auth: "on" });
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "passed");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator('[data-mailbox="connected"]')).toBeVisible();
});

test("revoked grants: the mailbox needs reconnecting, and connecting again fixes it", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await demo.faults({ grants_revoked: true });
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "failed");
  await expect(page.locator(".diagnosis").first()).toHaveAttribute("data-cause", "grant_revoked");
  await expect(page).toHaveTitle(/^Failed · /);
  // The guide ticks no step that the response contradicts.
  await expect(page.locator('.stop[data-status="passed"]')).toHaveCount(0);
  await expect(page.locator('.stop[data-check="sign_in"]')).toContainText("not asked again");
  await page.goto(demo.url + ACCOUNT);
  await expect(page.locator('[data-mailbox="needs_reconnect"]')).toBeVisible();
  await demo.faults({ grants_revoked: false });
  await page.getByRole("button", { name: "Sign in again" }).first().click();
  await pick(page, "admin@demo.example");
  await outcome(page, "passed");
});

test("declining at Microsoft says so", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await atMicrosoft(page, "admin@demo.example");
  await decline(page);
  await outcome(page, "failed");
  await expect(page.locator(".diagnosis").first()).toHaveAttribute("data-cause", "declined");
});

test("the message in Junk counts as arrived, and the page says where", async ({ page, demo }) => {
  await configure(page, demo);
  await demo.faults({ delivery: "junk" });
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await expect(stop(page, "arrival")).toContainText("in the folder Junk Email");
});

test("a message whose Message-ID was replaced on the way is found by its attempt", async ({ page, demo }) => {
  await configure(page, demo);
  await demo.faults({ message_id_replaced: true });
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await expect(stop(page, "arrival")).toContainText("in your inbox");
  const arrived = (await demo.mails()).filter((mail) => mail.folder === "INBOX");
  expect(arrived).toHaveLength(1);
  expect(arrived[0]!.raw).toContain("@gateway.example>");
});

test("the message in another folder counts as arrived", async ({ page, demo }) => {
  await configure(page, demo);
  await demo.faults({ delivery: "folder" });
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await expect(stop(page, "arrival")).toContainText("in the folder Projects");
});

test.describe("with a short patience", () => {
  test.use({ environment: { ENTREPOST_ARRIVAL_SECONDS: "2" } });

  test("sent but not seen is no failure", async ({ page, demo }) => {
    await configure(page, demo);
    await demo.faults({ delivery: "nowhere" });
    await connect(page, demo, "admin@demo.example");
    await outcome(page, "not_seen");
    await expect(stop(page, "arrival")).toHaveAttribute("data-status", "unseen");
    await page.goto(demo.url + ACCOUNT);
    await expect(page.locator('[data-mailbox="connected"]')).toBeVisible();
  });
});

test.describe("tested again automatically", () => {
  test.use({ environment: { ENTREPOST_RETEST_SECONDS: "1" } });

  test("a blocked mailbox that works again is shown as connected", async ({ page, demo }) => {
    test.setTimeout(120_000);
    await configure(page, demo);
    await demo.faults({ smtp_auth: "mailbox" });
    await connect(page, demo, "admin@demo.example");
    await outcome(page, "failed");
    await demo.faults({ smtp_auth: "on" });
    await expect(async () => {
      await page.goto(demo.url + ACCOUNT);
      await expect(page.locator('[data-mailbox="connected"]')).toBeVisible({ timeout: 500 });
    }).toPass({ timeout: 50_000 });
    await expect(page.getByText("(automatic)").first()).toBeVisible();
  });
});
