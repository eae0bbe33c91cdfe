// Inviting many people: paste or file, preview, confirm, progress; the list of people with search, filters, actions.
import { readFileSync } from "node:fs";
import { everyLook } from "../fixtures/looks";
import { expect, isPlain, test } from "../fixtures/test";
import { signIn } from "../fixtures/steps";

const USERS = "/institution/users";

test("thirty people from a pasted list: seen first, then invited, with links to hand out", async ({ page, demo }) => {
  test.setTimeout(120_000);
  await signIn(page, demo.url, "admin@demo.example");
  await page.goto(demo.url + USERS);
  await page.getByRole("link", { name: "Invite many people" }).click();
  const people = Array.from({ length: 30 }, (_, at) => `Person ${at + 1},p${at + 1}@demo.example,${at === 0 ? "administrator" : "user"}`);
  const list = ["name,email,role", ...people, "user@demo.example", "not an address"].join("\n");
  await page.getByLabel("People to invite").fill("P2@demo.example");
  await page.getByLabel("Or choose a CSV or text file").setInputFiles({ name: "people.csv", mimeType: "text/csv", buffer: Buffer.from(list) });
  await page.getByRole("button", { name: "Preview" }).click();
  await expect(page.getByRole("heading", { name: "30 people would be invited" })).toBeVisible();
  await expect(page.locator('[data-listed="known"]')).toContainText("1");
  await expect(page.locator('[data-listed="repeated"]')).toContainText("1");
  await expect(page.locator('[data-listed="not_an_address"]')).toContainText("1");
  if (!isPlain(page)) await everyLook(page, "invite-preview");
  expect((await demo.mails()).length).toBe(0);
  await page.getByRole("button", { name: "Invite 30 people" }).click();
  await expect(page.locator('[data-invited="30"][data-left="0"]')).toBeVisible({ timeout: 30_000 });
  if (!isPlain(page)) await everyLook(page, "invite-progress");
  await page.getByText("Links to hand out").click();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download links (CSV)" }).click();
  const links = readFileSync(await (await download).path(), "utf8").trim().split("\r\n");
  expect(links.length).toBe(31);
  expect(links[1]).toMatch(/^"Person 2","P2@demo.example","http.*\/invitation\/[A-Za-z0-9_-]+"$/);

  await page.goto(demo.url + USERS);
  await expect(page.locator('[data-state="not_connected"]')).toContainText("32");
  await page.getByLabel("Search name or address").fill("person 17");
  await page.getByRole("button", { name: "Show" }).click();
  await expect(page.locator("[data-person]")).toHaveCount(1);
  await page.getByLabel("Select p17@demo.example").check();
  await page.getByText("Disconnect or disable").click();
  await page.getByRole("button", { name: "Disable selected" }).click();
  await expect(page.getByText("1 person: disabled.")).toBeVisible();
  await expect(page).toHaveURL(/q=person/);
  await page.locator('[data-state="disabled"]').click();
  await expect(page.locator('[data-person="p17@demo.example"]')).toBeVisible();
  await page.goto(demo.url + USERS);
  if (!isPlain(page)) await everyLook(page, "users-many");
  await page.getByRole("button", { name: /Remind everyone who is not connected \(31\)/ }).click();
  await expect(page.getByText("31 people: reminded.")).toBeVisible();
  await expect(page.getByRole("button", { name: /Remind everyone/ })).toHaveCount(0);
});
