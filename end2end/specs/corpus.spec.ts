// Real-world messages in the browser: text, readable colours, pictures, direction. The messages are the server tests' corpus.
import { expect, open, test } from "../fixtures/test";
import { configure, connect, outcome } from "../fixtures/steps";
import { readFile } from "node:fs/promises";
import type { FrameLocator, Locator, Page } from "@playwright/test";

const ME = "admin@demo.example";

async function raw(name: string): Promise<string> {
  return readFile(new URL(`../../server/tests/messages/${name}.eml`, import.meta.url), "utf8");
}

async function look(page: Page, url: string, subject: string): Promise<void> {
  await open(page, `${url}/mail/inbox`);
  // The row contains a time too, so only the subject is matched.
  const titled = page.locator(".mail-subject").filter({ hasText: subject });
  await page.locator(".mail-row").filter({ has: titled }).getByRole("link").click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText(subject);
}

/** The lowest contrast of visible text with the ground that is behind it. */
async function contrast(frame: FrameLocator): Promise<number> {
  return frame.locator("body").evaluate((body) => {
    const rgb = (value: string) => (value.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = ([r, g, b]: number[]) => {
      const linear = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    let lowest = 21;
    const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const parent = node.parentElement!;
      if (!node.textContent!.trim() || parent.getClientRects().length === 0) continue;
      let ground = [255, 255, 255];
      for (let at: Element | null = parent; at; at = at.parentElement) {
        const { backgroundColor, backgroundImage } = getComputedStyle(at);
        const stop = /gradient.*?(rgba?\([^)]*\))/.exec(backgroundImage)?.[1];
        const [r, g, b, a = 1] = rgb(stop ?? backgroundColor);
        if (a > 0.5) {
          ground = [r, g, b];
          break;
        }
      }
      const [one, other] = [luminance(rgb(getComputedStyle(parent).color)), luminance(ground)];
      lowest = Math.min(lowest, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05));
    }
    return lowest;
  });
}

async function drawn(picture: Locator): Promise<void> {
  await expect.poll(() => picture.evaluate((one: HTMLImageElement) => one.naturalWidth)).toBeGreaterThan(0);
}

test("the corpus as people see it @script", async ({ page, demo }) => {
  test.setTimeout(180_000);
  await configure(page, demo);
  await connect(page, demo, ME);
  await outcome(page, "passed");
  await page.goto(`${demo.url}/account/email`);
  await page.getByText("Other addresses", { exact: false }).first().click();
  await page.getByLabel("Other addresses").fill("first.user@demo.example");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await expect(page.locator(":focus")).toContainText("Saved");
  const names = [
    "01-background-shorthand", "02-data-uri", "03-inline-cid-forward", "04-subject-split-char", "05-outlook-msonormal", "06-hebrew-body-rtl",
    "09-cid-octet-stream", "12-gb2312", "20-no-parts", "21-base64-body-footer", "22-base64-pieces", "23-base64-stray", "25-long-name", "26-calendar-only", "27-smime-opaque",
    "41-reply-to-name", "43-alias", "44-flowed",
  ];
  for (const name of names) await demo.deliver(ME, await raw(name));
  await open(page, `${demo.url}/mail/inbox`);
  await expect(page.locator(".mail-row").filter({ hasText: "44 Flowed" })).toBeVisible();
  const frame = page.frameLocator("iframe.mail-frame").first();
  const text = page.locator(".mail-text").first();

  await look(page, demo.url, "01 Open day");
  await expect(frame.getByText("Doors open at 9:30")).toBeVisible();
  expect(await contrast(frame)).toBeGreaterThan(4.5);
  await look(page, demo.url, "02 Letter announcement");
  await drawn(frame.locator("img"));
  expect(await contrast(frame)).toBeGreaterThan(4.5);
  await look(page, demo.url, "09 Logo as octet-stream");
  await drawn(frame.locator("img"));
  await look(page, demo.url, "05 Outlook desktop");
  const [first, second] = [frame.getByText("Room 12 is closed."), frame.getByText("Room 14 is open.")];
  await expect(first).toBeVisible();
  const gap = (await second.boundingBox())!.y - (await first.boundingBox())!.y;
  expect(gap, "lines are no paragraphs").toBeLessThan(30);
  expect(await contrast(frame)).toBeGreaterThan(4.5);
  await look(page, demo.url, "06 שלום");
  await expect(frame.locator("body > div").first()).toHaveCSS("direction", "rtl");
  expect(await contrast(frame)).toBeGreaterThan(4.5);
  await look(page, demo.url, "家长会通知");
  await expect(text).toContainText("各位家长：");
  await expect(page.locator(".opened-head")).toContainText("家长会");
  await look(page, demo.url, "Kviečiame į mokyklos šventę");
  await look(page, demo.url, "20 Says multipart");
  await expect(text).toContainText("2. Trip: in May.");
  await look(page, demo.url, "21 Letter with a gateway footer");
  await expect(frame.getByText("3 March")).toBeVisible();
  expect(await contrast(frame)).toBeGreaterThan(4.5);
  await look(page, demo.url, "25 A very long file name");
  await expect(page.locator(".attachments a")).toContainText(/^Protokoll.*\.pdf$/);
  await look(page, demo.url, "26 Budget talk");
  await expect(page.locator(".invitation")).toContainText("Room 12");
  await expect(page.getByRole("link", { name: "https://meet.example.org/budget" })).toBeVisible();
  await look(page, demo.url, "27 Signed");
  await expect(page.getByText("Signed, not verified.")).toBeVisible();
  await expect(text).toContainText("4 and 5 May");
  await look(page, demo.url, "44 Flowed text");
  await expect(page.getByRole("link", { name: "https://example.org/confirm?token=abc.def&x=(1)" })).toBeVisible();
  await expect(page.getByRole("link", { name: "help@example.org" })).toHaveAttribute("href", "mailto:help@example.org");

  // Attachments are complete even with broken base64.
  for (const subject of ["22 Every line", "23 A stray mark"]) {
    await look(page, demo.url, subject);
    await expect(page.getByText("Damaged in transit")).toHaveCount(0);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "form.pdf" }).click()]);
    const bytes = await readFile(await download.path());
    expect(bytes.subarray(0, 8).toString("latin1")).toBe("%PDF-1.4");
    expect(bytes.subarray(-6).toString("latin1")).toBe("%%EOF\n");
  }
  // Replies go to valid addresses and never to the reader.
  await look(page, demo.url, "41 Reply-To is only a name");
  await page.getByRole("button", { name: "Reply", exact: true }).click();
  await expect(page.getByLabel("To", { exact: true })).toHaveValue("Ada Brook <ada@example.org>");
  await look(page, demo.url, "43 To an alias");
  await page.getByRole("button", { name: "Reply all" }).click();
  await expect(page.getByLabel("To", { exact: true })).toHaveValue("Ada Brook <ada@example.org>");
  await expect(page.getByLabel("Cc", { exact: false }).first()).toHaveValue("kai@example.org");

  // Inline pictures are included when forwarding.
  await look(page, demo.url, "03 Scan of the form");
  await drawn(frame.locator("img"));
  await page.getByRole("button", { name: "Forward" }).click();
  await expect(page.getByLabel("Message", { exact: true })).toHaveValue(/Please pass it on/);
  await expect(page.getByText("scan.png")).toBeVisible();
});

// Colours as mail programs write them: in attributes, capitals, shorthands, classes, on the body, translucent.
const COLOURED: Record<string, string> = {
  "white on a table's ground": '<table BGCOLOR="#003366"><tr><td><FONT COLOR="white">Read me</FONT></td></tr></table>',
  "body attributes": '<html><body bgcolor="#102030" text="#f0f0f0"><p>Read me</p></body></html>',
  "body style in capitals": '<BODY STYLE="BACKGROUND:#000; COLOR:#FFF"><p>Read me</p></BODY>',
  "a class on the ground": '<html><head><style>.d{background:navy}.d p{color:#fff}</style></head><body><div class="d"><p>Read me</p></div></body></html>',
  "a rule for the body": "<html><head><style>body { background-color: #222; color: #eee }</style></head><body>Read me</body></html>",
  "a picture with a colour behind it": '<div style="background:url(https://x.example/a.png) no-repeat #004400;color:#fff">Read me</div>',
  "a ground that is taken away": '<div style="background-image:url(https://x.example/a.png);color:#fff">Read me</div>',
  "a gradient": '<div style="background:linear-gradient(#000,#111);color:#fff">Read me</div>',
  "half clear": '<div style="background:rgba(0,0,0,.9);color:#fff">Read me</div>',
  "a variable": '<html><head><style>:root{--g:#000}.x{background:var(--g);color:#fff}</style></head><body><p class="x">Read me</p></body></html>',
  "important": '<html><head><style>p{color:#fff!important}</style></head><body style="background:#123"><p style="color:#123">Read me</p></body></html>',
  "black in the dark": '<html><head><meta name="color-scheme" content="light dark"></head><body><p style="color:#000">Read me</p></body></html>',
  "a dark sheet": "<html><head><style>@media (prefers-color-scheme: dark){p{color:#fff}}</style></head><body><p>Read me</p></body></html>",
  "a position of its own": '<div style="background:#000;position:absolute;color:#fff">Read me</div>',
};

for (const scheme of ["light", "dark"] as const) {
  test(`what others coloured can be read, ${scheme} @script`, async ({ page, demo }) => {
    test.setTimeout(120_000);
    await page.emulateMedia({ colorScheme: scheme });
    await configure(page, demo);
    await connect(page, demo, ME);
    await outcome(page, "passed");
    const all = Object.entries(COLOURED);
    for (const [name, html] of all) {
      await demo.deliver(ME, `From: ada@example.org\r\nTo: ${ME}\r\nSubject: Colour: ${name}.\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n${html}\r\n`);
    }
    await open(page, `${demo.url}/mail/inbox`);
    await expect(page.locator(".mail-row").filter({ hasText: `Colour: ${all[all.length - 1][0]}.` })).toBeVisible();
    const frame = page.frameLocator("iframe.mail-frame").first();
    for (const [name] of all) {
      await look(page, demo.url, `Colour: ${name}.`);
      await expect(frame.getByText("Read me")).toBeVisible();
      expect(await contrast(frame), name).toBeGreaterThan(4.5);
    }
  });
}
