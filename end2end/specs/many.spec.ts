// An institution of 300: invited from a CSV file, forty blocked by one cause, freed by one command.
import { Http } from "../fixtures/http";
import { everyLook } from "../fixtures/looks";
import { expect, test } from "../fixtures/test";
import { configure } from "../fixtures/steps";

const PEOPLE = Array.from({ length: 300 }, (_, number) => `person${number}@demo.example`);
const CONNECTED = 40;

test.setTimeout(420_000);

/** Accepts an invitation with Microsoft, which also connects the mailbox. */
async function accepts(link: string, address: string): Promise<void> {
  const http = new Http();
  let at = await http.submit(await http.send(link), "invitation", {});
  at = await http.submit(at, "username", { username: address, password: "sandbox" });
  at = await http.submit(at, "authorization", { answer: "accept" });
  await http.submit(at, "state", {});
}

test("three hundred people from a CSV, forty blocked by one cause, freed by one command", { tag: "@script" }, async ({ page, demo }) => {
  await configure(page, demo);
  await demo.accounts(PEOPLE);
  await page.goto(`${demo.url}/institution/users/invite`);
  const lines = PEOPLE.map((address, number) => `${address},Person ${number}`);
  const csv = ["address,name", ...lines].join("\n");
  await page.locator('input[type="file"]').setInputFiles({ name: "people.csv", mimeType: "text/csv", buffer: Buffer.from(csv) });
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByRole("button", { name: "Invite 300 people" }).click();
  await expect(async () => {
    await page.reload();
    await expect(page.locator('[data-invited="300"][data-left="0"]')).toBeVisible({ timeout: 1_000 });
  }).toPass({ timeout: 180_000 });
  await page.getByText("Links to hand out").click();
  const download = page.getByRole("button", { name: "Download links (CSV)" });
  await expect(download).toBeVisible();
  const action = await page.locator("form").filter({ has: download }).getAttribute("action");
  const text = await page.evaluate(async (path) => (await fetch(path, { method: "POST" })).text(), action!);
  const links = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const link = /https?:\/\/[^",]+\/invitation\/[^",]+/.exec(line)?.[0];
    const address = /person\d+@demo\.example/.exec(line)?.[0];
    if (link && address) links.set(address, link);
  }
  expect(links.size).toBe(PEOPLE.length);

  const first = PEOPLE.slice(0, CONNECTED);
  for (let at = 0; at < first.length; at += 4) {
    await Promise.all(first.slice(at, at + 4).map((address) => accepts(links.get(address)!, address)));
  }
  const health = `${demo.url}/institution/mail-health`;
  await page.goto(health);
  const row = page.locator('.cause-row[data-cause="smtp_auth_mailbox"]');
  await expect(async () => {
    await page.reload();
    await expect(row).toContainText(`${CONNECTED} mailboxes`, { timeout: 1_000 });
  }).toPass({ timeout: 120_000 });
  await row.locator("summary").first().click();
  // The domains of new mailboxes are looked up without being asked for.
  const domain = page.locator('[data-domain="demo.example"]');
  await expect(domain.locator('[data-record="SPF"]')).toHaveAttribute("data-verdict", "good");
  await expect(domain.locator('[data-record="DMARC"]')).toContainText("v=DMARC1; p=none");
  await everyLook(page, "mail-health-forty");
  const command = await row.locator("code").filter({ hasText: "ForEach-Object" }).first().innerText();
  for (const address of first) expect(command).toContain(`'${address}'`);
  expect(await demo.powershell(command)).toBe(CONNECTED);
  await page.getByRole("button", { name: "Look up again" }).click();
  await expect(page.getByText("domain was looked up.")).toBeVisible();
  await row.locator("summary").first().click();
  await row.getByRole("button", { name: "Test these again" }).click();
  await expect(page.getByText(`${CONNECTED} mailboxes are tested again.`)).toBeVisible();
  await expect(async () => {
    await page.goto(health);
    await expect(page.getByText(`Email works for ${CONNECTED} of 302 people.`)).toBeVisible({ timeout: 1_000 });
  }).toPass({ timeout: 180_000 });
  await expect(page.getByRole("heading", { name: "No mailbox is blocked" })).toBeVisible();
  await page.goto(`${demo.url}/institution/users?state=connected`);
  await expect(page.locator(".people-table tbody tr")).toHaveCount(CONNECTED);
});
