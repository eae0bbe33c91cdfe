// The whole life of a client secret, with the clock set ahead: reminders, expiry, a new one, the old one forgotten.
import { Demo } from "../fixtures/demo";
import { CONFIG, configure, connect, edit, outcome, save, signInByForm } from "../fixtures/steps";
import { expect, test } from "../fixtures/test";

const ADMIN = "admin@demo.example";

test.setTimeout(180_000);

test("reminder, expiry, a new secret, the old one forgotten @script", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, ADMIN);
  await outcome(page, "passed");
  await page.goto(demo.url + CONFIG);
  await edit(page);
  await page.getByLabel("180 days").check();
  await page.getByLabel("Client Secret", { exact: true }).fill((await demo.registration()).secret_value);
  await save(page);
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();

  /** The same data, so many days later. */
  const later = async (days: number, look: (next: Demo) => Promise<void>) => {
    await page.goto("about:blank");
    await demo.interrupt();
    const next = await Demo.start({}, demo.directory, ["--days-ahead", String(days)]);
    await signInByForm(page, next.url, ADMIN);
    await look(next);
    await page.goto("about:blank");
    await next.interrupt();
  };
  const subjects = async (next: Demo) => (await next.mails()).filter((mail) => mail.mailbox === ADMIN).map((mail) => /^Subject: (.*?)\r?$/m.exec(mail.raw)?.[1] ?? "");

  await later(151, async (next) => {
    await expect.poll(async () => (await subjects(next)).filter((subject) => subject.startsWith("The Client Secret expires in")).length).toBe(1);
    await page.goto(next.url + CONFIG);
    await expect(page.getByText(/The Client Secret expires in \d+ days/).first()).toBeVisible();
    // No one reads it, and Microsoft ends the secret.
    await next.newSecret();
  });
  await later(181, async (next) => {
    // The page says that email is stopped, and the field is there.
    await expect(async () => {
      await page.goto(next.url + CONFIG);
      await expect(page.locator('[data-email-state="stopped"]')).toBeVisible({ timeout: 1_000 });
    }).toPass({ timeout: 60_000 });
    await expect(page.getByText("Email is stopped for 1 person.").first()).toBeVisible();
    await page.getByLabel("Client Secret", { exact: true }).fill((await next.registration()).secret_value);
    await page.getByLabel("12 months").check();
    await save(page);
    await expect(page.locator('[data-email-state="works"]')).toBeVisible();
    await page.goto(`${next.url}/account/email`);
    await page.getByRole("button", { name: "Test again" }).first().click();
    await outcome(page, "passed");
    await page.goto(next.url + CONFIG);
    await expect(page.getByRole("heading", { name: "Delete the old Client Secret at Microsoft" })).toBeVisible();
    await page.getByRole("button", { name: "I deleted it" }).click();
    await expect(page.getByRole("heading", { name: "Delete the old Client Secret at Microsoft" })).toHaveCount(0);
  });
});
