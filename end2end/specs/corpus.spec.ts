// Mail as it comes, as people see it: text, colours that can be read, pictures, direction. The messages are those of the server's tests.
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
  // The row has a time too: only the subject is matched.
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
        const [r, g, b, a = 1] = rgb(getComputedStyle(at).backgroundColor);
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
  const names = [
    "01-background-shorthand", "02-data-uri", "03-inline-cid-forward", "04-subject-split-char", "05-outlook-msonormal", "06-hebrew-body-rtl",
    "09-cid-octet-stream", "12-gb2312", "20-no-parts", "21-base64-body-footer", "25-long-name", "26-calendar-only", "27-smime-opaque", "44-flowed",
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
  await look(page, demo.url, "09 Logo as octet-stream");
  await drawn(frame.locator("img"));
  await look(page, demo.url, "05 Outlook desktop");
  const [first, second] = [frame.getByText("Room 12 is closed."), frame.getByText("Room 14 is open.")];
  await expect(first).toBeVisible();
  const gap = (await second.boundingBox())!.y - (await first.boundingBox())!.y;
  expect(gap, "lines are no paragraphs").toBeLessThan(30);
  await look(page, demo.url, "06 שלום");
  await expect(frame.locator("body > div").first()).toHaveCSS("direction", "rtl");
  await look(page, demo.url, "家长会通知");
  await expect(text).toContainText("各位家长：");
  await expect(page.locator(".opened-head")).toContainText("家长会");
  await look(page, demo.url, "Kviečiame į mokyklos šventę");
  await look(page, demo.url, "20 Says multipart");
  await expect(text).toContainText("2. Trip: in May.");
  await look(page, demo.url, "21 Letter with a gateway footer");
  await expect(frame.getByText("3 March")).toBeVisible();
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

  // What stands in the text goes along when it is forwarded.
  await look(page, demo.url, "03 Scan of the form");
  await drawn(frame.locator("img"));
  await page.getByRole("button", { name: "Forward" }).click();
  await expect(page.getByLabel("Message", { exact: true })).toHaveValue(/Please pass it on/);
  await expect(page.getByText("scan.png")).toBeVisible();
});
