// Delivery: upload progress, text kept when leaving the page, failed messages.
import { everyLook } from "../fixtures/looks";
import { configure, connect, outcome } from "../fixtures/steps";
import { expect, isPlain, open, test } from "../fixtures/test";
import type { Demo } from "../fixtures/demo";
import type { Page } from "@playwright/test";

const ME = "admin@demo.example";

async function ready(page: Page, demo: Demo): Promise<void> {
  await configure(page, demo);
  await connect(page, demo, ME);
  await outcome(page, "passed");
}

function message(page: Page, subject: string) {
  return page.locator(".delivery").filter({ has: page.getByRole("link", { name: subject, exact: true }) });
}

test("a progress bar says how far a file is @script", async ({ page, demo }) => {
  await ready(page, demo);
  await open(page, `${demo.url}/mail/compose`);
  const network = await page.context().newCDPSession(page);
  await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 400_000 });
  const bar = page.getByRole("progressbar");
  await page.getByLabel("Attachments").setInputFiles({ name: "film.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(1_500_000, 7) });
  const value = async () => Number((await bar.getAttribute("value", { timeout: 5_000 })) ?? 0);
  await expect(bar).toBeVisible();
  await expect(page.getByRole("button", { name: "Send" }), "what is sent now would go without the file").toBeDisabled();
  await expect.poll(value, { intervals: [50] }).toBeGreaterThan(0);
  const early = await value();
  expect(early).toBeLessThan(100);
  await expect.poll(value, { intervals: [50], message: "it moves on" }).toBeGreaterThan(early);
  await expect(page.locator(".attachments li")).toContainText("film.bin");
  await expect(bar).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Send" })).toBeEnabled();
  await network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
});

test("leaving while writing loses no letter @script", async ({ page, demo }) => {
  await ready(page, demo);
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("Subject").fill("Cut short");
  await page.getByLabel("Message").fill("The last word");
  // Immediately, before the autosave delay has passed.
  await page.goto(`${demo.url}/`);
  await expect(async () => {
    await page.goto(`${demo.url}/mail/drafts`);
    await expect(page.getByRole("link", { name: "Cut short" })).toBeVisible({ timeout: 500 });
  }).toPass();
  await page.getByRole("link", { name: "Cut short" }).click();
  await expect(page.getByLabel("Message")).toHaveValue("The last word");
});

test("a letter that failed is opened, read, changed and sent", async ({ page, demo }) => {
  test.setTimeout(120_000);
  await ready(page, demo);
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("nobody@demo.example, other@demo.example");
  await page.getByLabel("Subject").fill("Minutes");
  await page.getByLabel("Message").fill("Read these carefully.");
  await demo.faults({ smtp_reply: "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP" });
  await page.getByRole("button", { name: "Send" }).click();
  await expect(message(page, "Minutes")).toHaveAttribute("data-state", "failed");
  await message(page, "Minutes").getByRole("link", { name: "What to do" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox\/[0-9a-f-]+$/);
  await expect(page.getByRole("heading", { name: "Minutes" })).toBeVisible();
  await expect(page.locator(".mail-text")).toHaveText("Read these carefully.");
  await expect(page.getByText("Last result:")).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "letter-failed");
  await demo.faults({ smtp_reply: "" });
  await page.getByRole("button", { name: "Edit and resend" }).click();
  await expect(page.getByLabel("Message")).toHaveValue("Read these carefully.");
  await page.getByLabel("Message").fill("Read these at leisure.");
  await page.getByRole("button", { name: "Send" }).click();
  const sent = message(page, "Minutes").first();
  await expect(async () => {
    if (isPlain(page)) await page.reload();
    await expect(sent).toHaveAttribute("data-state", "sent", { timeout: 1_000 });
  }).toPass();
  await expect(sent).toContainText("Sent to ");
  await expect(sent).toContainText("Not delivered to nobody@demo.example");
  await sent.getByRole("link", { name: "Minutes" }).click();
  // Recipients who have the message don't get it again; the retry goes to the others.
  await expect(page.locator(".mail-text")).toHaveText("Read these at leisure.");
  if (!isPlain(page)) await everyLook(page, "letter-partly-sent");
  await page.getByRole("button", { name: "Correct and send to the rest" }).click();
  await expect(page.getByLabel("To", { exact: true })).toHaveValue("nobody@demo.example");
  await page.getByLabel("To", { exact: true }).fill("teacher@demo.example");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(async () => {
    if (isPlain(page)) await page.reload();
    await expect(sent).toHaveAttribute("data-state", "sent", { timeout: 1_000 });
  }).toPass();
  await sent.getByRole("link", { name: "Minutes" }).click();
  await expect(page.getByText("The sent copy is in Sent Items.")).toBeVisible();
  await expect(page.getByRole("link", { name: "Open it" })).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "letter-sent");
  const arrived = (await demo.mails()).filter((mail) => mail.mailbox === "other@demo.example" && mail.folder === "INBOX");
  expect(arrived.map((mail) => mail.raw.includes("at leisure"))).toEqual([true]);
});
