// Programs and devices: an administrator makes one, types its settings into a client, sees the scan arrive, breaks it, and reads on
// its page what to do.
import { createTransport } from "nodemailer";
import type { Page } from "@playwright/test";
import type { Demo } from "../fixtures/demo";
import { configure, connect, outcome, signIn } from "../fixtures/steps";
import { everyLook } from "../fixtures/looks";
import { expect, isPlain, open, test } from "../fixtures/test";

const PROGRAMS = "/institution/programs";
type Typed = { host: string; starttls: number; tls: number; user: string; password: string };

/** What its page says to type into it. */
async function typed(page: Page, password: string): Promise<Typed> {
  const value = async (name: string) => (await page.locator("dl.facts dt", { hasText: name }).locator("xpath=following-sibling::dd[1]").first().innerText()).trim();
  return {
    host: await value("SMTP server"),
    starttls: Number(await value("Port, with STARTTLS")),
    tls: Number(await value("Port, with SSL/TLS")),
    user: await value("or shorter"),
    password,
  };
}

/** A scan, as a panel with these settings sends it; answers what the panel shows. */
async function scan(settings: Typed, change: { secure?: boolean; trusting?: boolean; password?: string; from?: string; to?: string; port?: number } = {}): Promise<string> {
  const secure = change.secure ?? false;
  const client = createTransport({
    // The host of the page is this machine's.
    host: "127.0.0.1",
    port: change.port ?? (secure ? settings.tls : settings.starttls),
    secure,
    requireTLS: !secure,
    auth: { user: settings.user, pass: change.password ?? settings.password },
    tls: { rejectUnauthorized: !(change.trusting ?? true) },
  });
  try {
    const sent = await client.sendMail({ from: change.from ?? "Copier <copier@old.example>", to: change.to ?? "other@demo.example", subject: "Scan 7", text: "Page 1" });
    return sent.response;
  } catch (error) {
    return String(error);
  } finally {
    client.close();
  }
}

/** The device's page says it; with JavaScript without a reload. */
async function told(page: Page, words: string | RegExp): Promise<void> {
  await expect(async () => {
    if (isPlain(page)) await page.reload();
    await expect(page.locator("#live")).toContainText(words, { timeout: isPlain(page) ? 500 : 15_000 });
  }).toPass();
}

async function add(page: Page, demo: Demo, name: string): Promise<Typed> {
  await open(page, demo.url + PROGRAMS);
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.getByLabel("Mailbox", { exact: true }).selectOption("admin@demo.example");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await expect(page.getByText(`${name} is added.`)).toBeVisible();
  const password = await page.locator(".banner code").innerText();
  expect(password).toMatch(/^[0-9a-z]{20}$/);
  // Shown once.
  const settings = await typed(page, password);
  await page.reload();
  await expect(page.getByText(password)).toHaveCount(0);
  return settings;
}

test("a copier is set up, scans, breaks in six ways, and its page says what to do", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  const settings = await add(page, demo, "Copier north");
  expect(settings.user).toBe("copier-north@demo");
  await expect(page.getByText("It has not connected yet.")).toBeVisible();

  expect(await scan(settings)).toMatch(/^250 /);
  await told(page, /queued, sent in \d/);
  await told(page, "From changed to the mailbox's address");
  await expect.poll(async () => (await demo.mails()).filter((mail) => mail.mailbox === "other@demo.example" && mail.folder === "INBOX" && mail.raw.includes("Subject: Scan 7")).length).toBe(1);
  await expect(page.locator("#live")).not.toContainText("Scan 7");
  await expect(page.locator("#live")).toContainText("o…@demo.example");

  await test.step("a wrong password", async () => {
    expect(await scan(settings, { password: "00000000000000000000" })).toContain("535");
    await told(page, "wrong user name or password");
    await told(page, "20 letters and digits, without blanks");
  });
  await test.step("the wrong kind of encryption", async () => {
    await scan(settings, { secure: true, port: settings.starttls });
    await told(page, "began with TLS on the port that begins without (STARTTLS)");
    await told(page, "Choose “STARTTLS”");
  });
  await test.step("a certificate that isn't trusted", async () => {
    await scan(settings, { secure: true, trusting: false });
    // Node.js ends the connection after the handshake.
    await told(page, "don't trust the certificate");
    await told(page, "Switch “verify certificate” off");
  });
  await test.step("a recipient elsewhere", async () => {
    expect(await scan(settings, { to: "parent@far.example" })).toContain("550 5.7.1");
    await told(page, "may not write to p…@far.example");
    await told(page, "Change “Recipients allowed”");
  });
  await test.step("paused", async () => {
    await page.getByRole("button", { name: "Pause" }).click();
    await expect(page.getByText("Paused.").first()).toBeVisible();
    expect(await scan(settings)).toContain("535");
    await told(page, "refused: it is paused");
    await told(page, "Press Resume");
    await page.getByRole("button", { name: "Resume" }).click();
    await expect(page.getByText("Resumed.").first()).toBeVisible();
  });
  await test.step("Microsoft refuses", async () => {
    await demo.faults({ smtp_reply: "554 5.2.2 mailbox full" });
    expect(await scan(settings)).toMatch(/^250 /);
    await told(page, "failed: ");
    await expect(page.locator("#live .diagnosis").first()).toBeAttached();
    await demo.faults({ smtp_reply: "" });
  });
  await page.getByRole("button", { name: "Send a test" }).click();
  await expect(page.getByText("A test message is queued.")).toBeVisible();
  await told(page, /queued, sent in \d/);

  await open(page, demo.url + PROGRAMS);
  await expect(page.locator('[data-device="Copier north"]')).toContainText("Ready");
});

test("what is typed wrong is kept, and what is removed is gone", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await open(page, demo.url + PROGRAMS);
  await page.getByLabel("Name", { exact: true }).fill("Library");
  await page.getByLabel("Program: a library or time-table system, monitoring, backup").check();
  await page.getByLabel("Contact").fill("boss@elsewhere.example");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await expect(page.locator("#errors")).toContainText("Enter an address of your institution");
  await expect(page.getByLabel("Name", { exact: true })).toHaveValue("Library");
  await expect(page.getByLabel("Program: a library or time-table system, monitoring, backup")).toBeChecked();
  await page.getByLabel("Contact").fill("");
  await page.getByLabel("Allowed networks").fill("10.1.0.0/16");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await expect(page.getByText("Library is added.")).toBeVisible();
  const settings = await typed(page, await page.locator(".banner code").innerText());
  expect(await scan(settings)).toContain("535");
  await told(page, "signed in from a network that isn't allowed");

  await page.getByText("Change its settings").click();
  await page.getByLabel("Allowed networks").fill("");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Saved.").first()).toBeVisible();
  expect(await scan(settings), "a program may not send as another").toContain("550 5.7.1");
  await told(page, "it may not send as copier@old.example");

  await page.getByRole("button", { name: "New password, the old one ends now" }).click();
  const renewed = await page.locator(".banner code").innerText();
  expect(await scan(settings)).toContain("535");
  await told(page, "a password that was withdrawn or has ended");
  expect(await scan({ ...settings, password: renewed })).toContain("550 5.7.1");

  await page.getByText("Remove it").click();
  await page.getByRole("button", { name: "Remove for good" }).click();
  await expect(page.getByText("Library is removed.")).toBeVisible();
  await expect(page.locator('[data-device="Library"]')).toHaveCount(0);
  expect(await scan({ ...settings, password: renewed })).toContain("535");
});

test("the demo has a copier that is ready @script", async ({ page, demo }) => {
  const said = /User name\s+(\S+)\s+Password\s+(\S+)/.exec(demo.output())!;
  const ports = /port (\d+) \(STARTTLS\), (\d+) \(SSL\/TLS\)/.exec(demo.output())!;
  const settings = { host: "127.0.0.1", starttls: Number(ports[1]), tls: Number(ports[2]), user: said[1]!, password: said[2]! };
  for (const secure of [false, true]) expect(await scan(settings, { secure })).toMatch(/^250 /);
  await expect.poll(async () => (await demo.mails()).filter((mail) => mail.raw.includes("Subject: Scan 7") && mail.mailbox === "other@demo.example" && mail.folder === "INBOX").length).toBe(2);
  await signIn(page, demo.url.replace("//demo.", "//ready."), "admin@demo.example");
  await page.goto(demo.url.replace("//demo.", "//ready.") + PROGRAMS);
  await page.getByRole("link", { name: "Copier" }).click();
  await expect(page.locator("#live")).toContainText(/queued, sent in \d/);
});

test("a person's own program: allowed, added, used, stopped", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  await open(page, demo.url + PROGRAMS);
  await expect(page.getByText("People can't add programs that send as themselves.")).toBeVisible();
  await page.getByRole("button", { name: "Allow it" }).click();
  await expect(page.getByText("People add them under User Account › Email.")).toBeVisible();

  const person = await newcomer();
  await signIn(person, demo.url, "user@demo.example");
  await connect(person, demo, "user@demo.example");
  await outcome(person, "passed");
  await person.goto(`${demo.url}/account/email`);
  await person.getByRole("link", { name: "Programs that send as you" }).click();
  await person.getByLabel("Name", { exact: true }).fill("Timetable");
  await person.getByRole("button", { name: "Add it" }).click();
  await expect(person.getByText("Timetable is added.")).toBeVisible();
  const password = await person.locator(".banner code").innerText();
  const value = async (name: string) => (await person.locator("dl.facts dt", { hasText: name }).locator("xpath=following-sibling::dd[1]").first().innerText()).trim();
  const user = await person.locator(".device-messages code").innerText();
  const settings: Typed = { host: "127.0.0.1", starttls: Number(await value("Port, with STARTTLS")), tls: Number(await value("Port, with SSL/TLS")), user, password };
  const sends = () => scan(settings, { from: "user@demo.example" });
  expect(await sends()).toContain("250");
  await expect.poll(async () => (await demo.mails()).some((mail) => mail.raw.includes("Subject: Scan 7") && mail.folder === "INBOX")).toBe(true);
  if (!isPlain(person)) await everyLook(person, "own-programs");

  await open(page, demo.url + PROGRAMS);
  await expect(page.getByRole("link", { name: "Timetable" })).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "programs-of-people");
  await page.getByRole("button", { name: "Stop allowing it" }).click();
  await expect(page.getByText("Programs that people have added can no longer send.")).toBeVisible();
  expect(await sends()).not.toContain("250 2.0.0");
  await person.reload();
  await expect(person.getByText("Paused")).toBeVisible();
  await person.getByRole("button", { name: "Remove" }).click();
  await expect(person.getByText("Timetable is removed.")).toBeVisible();
});
