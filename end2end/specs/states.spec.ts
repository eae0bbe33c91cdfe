// axe on rare states: refusals, final states, waiting states.
import { everyLook } from "../fixtures/looks";
import { expect, test } from "../fixtures/test";
import { accept, ACCOUNT, allowOther, atMicrosoft, begin, CONFIG, configure, connect, customFrom, outcome, signIn } from "../fixtures/steps";

test.setTimeout(180_000);

test("refused: an address nobody may connect, one that is taken, one that is not proven; an invitation with errors", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  await page.goto(demo.url + ACCOUNT);
  await page.getByLabel("Email address").fill("other@demo.example");
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await expect(page.getByRole("alert").first()).toBeVisible();
  await everyLook(page, "account-refused");
  await allowOther(page, demo.url);
  await begin(page, demo.url, "secretary@demo.example", "office.manager@demo.example");
  await demo.faults({ delivery: "junk" });
  await page.getByRole("button", { name: "Continue with secretary@demo.example" }).click();
  await outcome(page, "failed");
  await everyLook(page, "attempt-unproven");
  await page.goto(`${demo.url}/institution/users`);
  await page.getByLabel("Email", { exact: true }).fill("new@demo.example");
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  const link = await page.locator(".copyable code").first().innerText();
  const invited = await newcomer();
  await invited.goto(link);
  await invited.getByLabel("Password", { exact: true }).fill("short");
  await invited.getByLabel("Confirm password").fill("other");
  await invited.getByRole("button", { name: "Set password and sign in" }).click();
  await expect(invited.locator(".error").first()).toBeVisible();
  await everyLook(invited, "invitation-refused");
});

test.describe("ends", () => {
  test.use({ environment: { ENTREPOST_SIGN_IN_SECONDS: "3", ENTREPOST_ARRIVAL_SECONDS: "1" } });

  test("a sign-in that was left, and a sender whose message is not seen", async ({ page, demo }) => {
    await configure(page, demo);
    await connect(page, demo, "admin@demo.example");
    // The page reloads itself at the end of the checks.
    await expect(page.locator(".attempt")).toHaveAttribute("data-outcome", /passed|not_seen/);
    await page.goto(demo.url + ACCOUNT);
    await page.getByRole("button", { name: "Configure & Test" }).click();
    await page.getByRole("heading", { name: "Pick an account" }).waitFor();
    await page.goto(demo.url + ACCOUNT);
    await page.locator(".history a").first().click();
    await page.waitForURL(/\/attempts\//);
    await expect(async () => {
      await page.reload();
      await expect(page.getByText("You didn't finish signing in.")).toBeVisible({ timeout: 500 });
    }).toPass();
    await everyLook(page, "attempt-abandoned");
    await customFrom(page, demo, "noreply@demo.example");
    await demo.faults({ delivery: "nowhere" });
    await page.getByRole("button", { name: "Send a test" }).click();
    await outcome(page, "not_seen");
    await everyLook(page, "attempt-pair-not-seen");
  });
});

test("the institution's own trouble: a refused registration, a failing sender", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await customFrom(page, demo, "noreply@demo.example");
  await page.getByRole("button", { name: "Send a test" }).click();
  await outcome(page, "passed");
  await demo.faults({ send_as_denied: true });
  await page.goto(demo.url + CONFIG);
  await page.getByRole("button", { name: "Send a test" }).click();
  await outcome(page, "failed");
  await page.goto(demo.url + CONFIG);
  await everyLook(page, "config-failing-sender");
  await demo.faults({ send_as_denied: false, secret_expired: true });
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "failed");
  await page.goto(`${demo.url}/`);
  await expect(page.getByText("The Client Secret has expired.")).toBeVisible();
  await expect(page.getByText("Email is stopped for 1 person.")).toBeVisible();
  await expect(page.locator("[data-email-state]")).toHaveAttribute("data-email-state", "stopped");
  await everyLook(page, "home-refused-registration");
  // The page with the fix shows the same message and no contradicting one.
  await page.goto(demo.url + CONFIG);
  await expect(page.getByText("The Client Secret has expired.").first()).toBeVisible();
  await expect(page.getByText("Last accepted")).toBeVisible();
  await expect(page.getByText("Microsoft accepted the credentials.")).toHaveCount(0);
  await expect(page.locator("#client_secret")).toBeFocused();
  await everyLook(page, "config-refused-now");
});

test("mail that waits: several senders, held, stopped", async ({ page, demo }) => {
  await configure(page, demo);
  await allowOther(page, demo.url);
  await begin(page, demo.url, "admin@demo.example", "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(demo.url + ACCOUNT);
  await page.getByLabel("Email address").fill("other@demo.example");
  await page.getByRole("button", { name: "Configure & Test" }).click();
  await page.getByRole("heading", { name: "Pick an account" }).waitFor();
  await page.getByRole("button", { name: /another account/i }).click();
  await atMicrosoft(page, "other@demo.example");
  await accept(page);
  await outcome(page, "passed");
  await page.goto(`${demo.url}/mail/compose`);
  await everyLook(page, "compose-several-senders");
  await page.goto(`${demo.url}/mail/inbox`);
  await expect(page.locator(".mail-row").first()).toBeVisible();
  await everyLook(page, "inbox-several-mailboxes");
  await demo.faults({ grants_revoked: true });
  await page.goto(demo.url + ACCOUNT);
  for (const _ of [0, 1]) {
    await page.goto(demo.url + ACCOUNT);
    await page.getByRole("button", { name: "Test again" }).first().click();
    await outcome(page, "failed");
  }
  const write = async (subject: string) => {
    await page.goto(`${demo.url}/mail/compose`);
    await page.getByLabel("To", { exact: true }).fill("user@demo.example");
    await page.getByLabel("Subject").fill(subject);
    await page.getByRole("button", { name: "Send" }).click();
    await expect(page.getByRole("heading", { name: subject, exact: true })).toBeVisible();
  };
  await write("Held");
  // The card contains the steps to fix it.
  await expect(page.getByRole("button", { name: "Sign in again" })).toBeVisible();
  await write("Cancelled");
  await page.getByRole("button", { name: "Cancel sending" }).first().click();
  await expect(page.locator('[data-state="cancelled"]')).toHaveCount(1);
  await everyLook(page, "outbox-held-and-stopped");
});

test("somebody who may not: a user's home and mail without anything", async ({ page, demo }) => {
  await signIn(page, demo.url, "user@demo.example");
  await page.goto(`${demo.url}/mail/outbox`);
  await everyLook(page, "outbox-nothing-yet");
  await page.goto(`${demo.url}/mail/drafts`);
  await everyLook(page, "drafts-nothing-yet");
});

test("mail in trouble: the trash asks, a list that is old", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await demo.deliver("admin@demo.example", "From: Ann <ann@far.example>\nTo: admin@demo.example\nSubject: An offer\n\nBuy now.");
  await page.goto(`${demo.url}/mail/inbox`);
  const offer = page.locator(".mail-row").filter({ hasText: "An offer" });
  await offer.getByRole("checkbox").check();
  await page.getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("1 message moved to Deleted Items.")).toBeVisible();
  await page.reload();
  await page.getByRole("navigation", { name: "Folders" }).getByRole("link", { name: "Deleted Items" }).click();
  await offer.getByRole("checkbox").check();
  await page.locator("summary", { hasText: "Delete permanently" }).click();
  await expect(page.getByRole("button", { name: "Yes, delete permanently" })).toBeVisible();
  await everyLook(page, "inbox-trash");
  await offer.getByRole("link").click();
  await page.locator("summary", { hasText: "Delete permanently" }).click();
  await everyLook(page, "message-trash");
  await demo.faults({ imap_throttled: true });
  await demo.endImap();
  await page.goto(`${demo.url}/mail/inbox`);
  await expect(page.getByText("Last updated")).toBeVisible();
  await everyLook(page, "inbox-old");
});

test("a notification that came back is seen among the people and at home", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await customFrom(page, demo, "noreply@demo.example");
  await page.getByLabel("Send through a connected mailbox").selectOption({ label: "admin@demo.example" });
  await page.getByRole("button", { name: "Send a test" }).click();
  await outcome(page, "passed");
  await demo.faults({ bounced: true });
  await page.goto(`${demo.url}/institution/users`);
  await page.getByLabel("Email", { exact: true }).fill("new.person@far.example");
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  // A navigation away before the response may cancel the request.
  await expect(page.getByText("new.person@far.example is invited.")).toBeVisible();
  await expect(async () => {
    await page.goto(`${demo.url}/mail/inbox`);
    await page.goto(`${demo.url}/institution/users`);
    await expect(page.getByText("Not delivered")).toBeVisible({ timeout: 500 });
  }).toPass();
  await everyLook(page, "users-not-delivered");
  await page.goto(`${demo.url}/`);
  await expect(page.getByText("An email from Entrepost wasn't delivered.")).toBeVisible();
  await expect(
    page.getByText("It was addressed to new.person@far.example: 550 5.1.1 <new.person@far.example>: nobody has this address.", { exact: true }),
  ).toBeVisible();
  await everyLook(page, "home-not-delivered");
});
