// Writing messages, and the outbox.
import { expect, isPlain, open, test } from "../fixtures/test";
import { configure, connect, outcome, pick } from "../fixtures/steps";
import type { Demo } from "../fixtures/demo";
import type { Page } from "@playwright/test";

async function write(page: Page, demo: Demo, to: string, subject: string): Promise<void> {
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill(to);
  await page.getByLabel("Subject").fill(subject);
  await page.getByLabel("Message").fill("Good morning,\n\nthis is a test.");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
}

function message(page: Page, subject: string) {
  return page.locator(".delivery").filter({ has: page.getByRole("link", { name: subject, exact: true }) });
}

async function inbox(demo: Demo, address: string): Promise<string[]> {
  const mails = await demo.mails();
  return mails.filter((mail) => mail.mailbox === address && mail.folder === "INBOX").map((mail) => mail.raw);
}

test("without a connected mailbox the page says what to do", async ({ page, demo }) => {
  await configure(page, demo);
  await page.goto(`${demo.url}/mail/compose`);
  await expect(page.getByText("No mailbox connected yet.")).toBeVisible();
  await expect(page.getByRole("link", { name: "Connect my mailbox" })).toBeVisible();
});

test("compose: it arrives, and the outbox says so", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await page.getByRole("link", { name: "Mail", exact: true }).click();
  await page.getByRole("link", { name: "Sent & delivery" }).click();
  await expect(page.getByText("No messages yet.")).toBeVisible();
  await page.getByRole("link", { name: "New message" }).click();
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.locator("#to-error")).toContainText("Enter at least one address.");
  await write(page, demo, "Other Person <other@demo.example>", "Timetable");
  await expect(message(page, "Timetable")).toHaveAttribute("data-state", "sent");
  const raw = await inbox(demo, "other@demo.example");
  expect(raw).toHaveLength(1);
  expect(raw[0]).toContain("Subject: Timetable");
  expect(raw[0]).toContain("From: admin@demo.example");
});

test("a throttled mailbox: tried again later, stopped, sent after all; an unknown recipient is named", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await write(page, demo, "nobody@demo.example", "To nobody");
  await expect(message(page, "To nobody")).toHaveAttribute("data-state", "failed");
  await expect(message(page, "To nobody")).toContainText("5.1.10");
  await demo.faults({ throttled: true });
  await write(page, demo, "other@demo.example", "Later");
  await expect(message(page, "Later")).toHaveAttribute("data-state", "deferred");
  await expect(message(page, "Later")).toContainText("Tried once; next attempt");
  await message(page, "Later").getByRole("button", { name: "Cancel sending" }).click();
  await expect(message(page, "Later")).toHaveAttribute("data-state", "cancelled");
  await demo.faults({ throttled: false });
  expect(await inbox(demo, "other@demo.example")).toHaveLength(0);
});

test("a revoked grant: the message waits, and is sent automatically after connecting again", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await demo.faults({ grants_revoked: true });
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "failed");
  await write(page, demo, "other@demo.example", "Patience");
  await expect(message(page, "Patience")).toContainText("Waiting for you to reconnect");
  await demo.faults({ grants_revoked: false });
  await page.goto(`${demo.url}/account/email`);
  await page.getByRole("button", { name: "Sign in again" }).first().click();
  await pick(page, "admin@demo.example");
  await outcome(page, "passed");
  await page.goto(`${demo.url}/mail/outbox`);
  await expect(message(page, "Patience")).toHaveAttribute("data-state", "sent");
  await expect.poll(async () => (await inbox(demo, "other@demo.example")).length).toBe(1);
});

test("a mailbox that may not send: said before and after writing; the message is sent automatically once that is fixed", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await demo.faults({ smtp_auth: "mailbox" });
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "failed");
  await page.goto(`${demo.url}/mail/compose`);
  await expect(page.getByText("Messages from admin@demo.example may have to wait in the outbox")).toBeVisible();
  await write(page, demo, "other@demo.example", "Blocked");
  await expect(page.getByText("Message queued.")).toBeVisible();
  await expect(message(page, "Blocked")).toContainText("Sending is switched off for this mailbox.");
  await message(page, "Blocked").getByRole("link", { name: "What to do" }).click();
  await expect(page.locator(".diagnosis")).toHaveAttribute("data-cause", "smtp_auth_mailbox");
  await demo.faults({ smtp_auth: "on" });
  await page.goto(`${demo.url}/account/email`);
  await page.getByRole("button", { name: "Test again" }).first().click();
  await outcome(page, "passed");
  await page.goto(`${demo.url}/mail/outbox`);
  await expect(message(page, "Blocked")).toHaveAttribute("data-state", "sent");
});

test("a link that was pressed is followed, though news would load the page anew @script", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await open(page, `${demo.url}/mail/outbox`);
  // An event marks the handled response: scripts can't be evaluated during navigation.
  await page.evaluate(() => {
    const text = Response.prototype.text;
    Response.prototype.text = async function () {
      const read = await text.call(this);
      setTimeout(() => console.log("dealt with"));
      return read;
    };
  });
  // Delays the server's response.
  let press!: () => void;
  let release!: () => void;
  const pressed = new Promise<void>((resolve) => (press = resolve));
  const released = new Promise<void>((resolve) => (release = resolve));
  await page.route("**/mail/compose", async (route) => {
    press();
    await released;
    await route.continue();
  });
  // A page without its live region, as after signing out elsewhere, is reloaded.
  await page.route("**/mail/outbox?live=1", (route) => route.fulfill({ contentType: "text/html", body: "<p>Sign in</p>" }));
  await page.locator("a[href='/mail/compose']").first().click({ noWaitAfter: true });
  await pressed;
  const dealt = page.waitForEvent("console", (message) => message.text() === "dealt with");
  const elsewhere = await page.context().newPage();
  await write(elsewhere, demo, "other@demo.example", "News");
  await dealt;
  release();
  await expect(page.getByLabel("Subject")).toBeVisible();
});

test("addresses as they are pasted: a column, a table, one behind the other @script", async ({ page, demo }) => {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  const to = page.getByLabel("To", { exact: true });
  const paste = async (text: string) => {
    await open(page, `${demo.url}/mail/compose`);
    await page.evaluate((pasted) => navigator.clipboard.writeText(pasted), text);
    await to.focus();
    await page.keyboard.press("Control+V");
  };
  let number = 0;
  for (const text of [
    "other@demo.example\nuser@demo.example\noffice.manager@demo.example",
    "Kim Other\tother@demo.example\nUser\tuser@demo.example\nMay, Office\toffice.manager@demo.example",
    "other@demo.example\tuser@demo.example\toffice.manager@demo.example",
    "Kim <other@demo.example> User <user@demo.example> Office <office.manager@demo.example>",
    "other@demo.example;\u200b user@demo.example;\u00a0office.manager@demo.example",
  ]) {
    number += 1;
    await paste(text);
    await page.getByLabel("Subject").fill(`Pasted ${number}`);
    await page.getByLabel("Message").fill("To each of you.");
    await page.getByRole("button", { name: "Send" }).click();
    await expect(page).toHaveURL(/\/mail\/outbox/);
    const sent = message(page, `Pasted ${number}`);
    await expect(sent).toHaveAttribute("data-state", "sent");
    for (const address of ["other@", "user@", "office.manager@"]) await expect(sent).toContainText(`${address}demo.example`);
  }
  // The invalid address is named; the pasted text stays.
  const wrong = "other@demo.example\nnot an address\nuser@demo.example";
  await paste(wrong);
  await page.getByLabel("Subject").fill("Not sent");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.locator("#errors")).toContainText("“not an address” is not an email address.");
  await expect(to).toHaveValue(wrong);
});

test("cut after DATA: sent or not? is answered by the sent messages", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await demo.faults({ cut_after_data: true });
  await write(page, demo, "other@demo.example", "Perhaps");
  await expect(message(page, "Perhaps")).toHaveAttribute("data-state", "unknown");
  await demo.faults({ cut_after_data: false });
  await message(page, "Perhaps").getByRole("button", { name: "Check Sent Items" }).click();
  await expect(page.getByText("Delivered to Microsoft.")).toBeVisible();
  await expect(message(page, "Perhaps")).toHaveAttribute("data-state", "sent");
  expect(await inbox(demo, "other@demo.example")).toHaveLength(1);
});

test.describe("with short pauses", () => {
  test.use({ environment: { ENTREPOST_RETRY_SECONDS: "1" } });

  test("failure and retry: what was refused leaves once it is fixed, what was throttled is sent automatically", async ({ page, demo }) => {
    await configure(page, demo);
    await connect(page, demo, "admin@demo.example");
    await outcome(page, "passed");
    await demo.faults({ smtp_reply: "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP" });
    await write(page, demo, "other@demo.example", "Refused");
    await expect(message(page, "Refused")).toHaveAttribute("data-state", "failed");
    await expect(message(page, "Refused")).toContainText("5.7.708");
    await demo.faults({ smtp_reply: "" });
    await message(page, "Refused").getByRole("button", { name: "Try again" }).click();
    await expect(message(page, "Refused")).toHaveAttribute("data-state", "sent");
    await demo.faults({ throttled: true });
    await write(page, demo, "other@demo.example", "Throttled");
    await expect(message(page, "Throttled")).toHaveAttribute("data-state", "deferred");
    await demo.faults({ throttled: false });
    // The page updates itself, without JavaScript too.
    await expect(async () => {
      if (isPlain(page)) await page.reload();
      await expect(message(page, "Throttled")).toHaveAttribute("data-state", "sent", { timeout: 1_000 });
    }).toPass({ timeout: 30_000 });
    expect(await inbox(demo, "other@demo.example")).toHaveLength(2);
  });
});

test("a message in doubt is sent again only after another question", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await demo.faults({ cut_after_data: true, no_sent_copy: true });
  await write(page, demo, "other@demo.example", "In doubt");
  await expect(message(page, "In doubt")).toHaveAttribute("data-state", "unknown");
  await demo.faults({ cut_after_data: false, no_sent_copy: false });
  await expect(page.getByRole("button", { name: "Yes, send it again" })).toBeHidden();
  await message(page, "In doubt").locator("summary", { hasText: "Send again anyway" }).click();
  await expect(page.getByText("The recipient may get it twice.")).toBeVisible();
  await page.getByRole("button", { name: "Yes, send it again" }).click();
  await expect(message(page, "In doubt")).toHaveAttribute("data-state", "sent");
});
