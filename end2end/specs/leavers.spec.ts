// A person whose Microsoft account ended: out at once; an administrator confirms, exports and erases.
import { expect, isPlain, test } from "../fixtures/test";
import { everyLook } from "../fixtures/looks";
import { ACCOUNT, configure, connect, outcome, signIn } from "../fixtures/steps";

test.setTimeout(180_000);

test("who left is signed out, confirmed, exported and erased", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  const person = await newcomer();
  await signIn(person, demo.url, "user@demo.example");
  await connect(person, demo, "user@demo.example");
  await outcome(person, "passed");
  await demo.faults({ token_error: 50057 });
  await person.goto(demo.url + ACCOUNT);
  await person.getByRole("button", { name: "Test again" }).click();
  await outcome(person, "failed");
  await expect(async () => {
    await person.goto(demo.url + ACCOUNT);
    await expect(person).toHaveURL(/\/login/, { timeout: 1_000 });
  }).toPass({ timeout: 60_000 });

  await page.goto(`${demo.url}/institution/users?state=left`);
  await page.locator('[data-person="user@demo.example"] .who a').click();
  await expect(page.getByRole("heading", { name: "Has this person left?" })).toBeVisible();
  if (!isPlain(page)) await everyLook(page, "person-left");
  await page.getByRole("button", { name: "Yes, they have left" }).click();
  await expect(page.getByText("user@demo.example is disabled.")).toBeVisible();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download as JSON" }).click();
  expect((await download).suggestedFilename()).toBe("person.json");
  if (!isPlain(page)) await everyLook(page, "person-erasing");
  await page.getByLabel("Their address, to confirm").fill("user@demo.example");
  await page.getByRole("button", { name: "Erase" }).click();
  await expect(page.getByText("user@demo.example is erased.")).toBeVisible();
});
