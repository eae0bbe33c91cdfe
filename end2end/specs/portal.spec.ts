// The sandbox's portal, and texts copied to the clipboard.
import { expect, open, test } from "../fixtures/test";
import { ACCOUNT, configure, connect, CONFIG, outcome } from "../fixtures/steps";

test("the portal: a fault is switched on, mail is read rendered and raw, a redirect URI is added", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");

  await page.goto(demo.portal);
  const app = await demo.registration();
  for (const value of [app.client_id, app.tenant_id, app.secret_id, app.secret_value]) await expect(page.getByText(value, { exact: true })).toBeVisible();
  await page.getByLabel("Add a redirect URI").fill("https://north.mail.school.example/web/home/emails/msexchangeonlineoauth");
  await page.getByRole("button", { name: "Add redirect URI" }).click();
  await expect(page.getByText("https://north.mail.school.example/web/home/emails/msexchangeonlineoauth")).toBeVisible();

  await page.getByRole("link", { name: "Entrepost test for Demo College" }).first().click();
  await expect(page.getByText("X-Entrepost-Attempt")).toBeVisible();
  // The frame runs no scripts, not even the test's: its document is requested separately.
  const source = await page.getByTitle("The message as HTML").getAttribute("src");
  expect(await (await page.request.get(new URL(source!, page.url()).href)).text()).toContain("<strong>admin@demo.example</strong>");

  await page.goto(demo.portal);
  await page.getByLabel("Authenticated SMTP").selectOption({ label: "Off for the mailbox" });
  await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: "Set faults" }).click()]);
  await page.goto(demo.url + ACCOUNT);
  await page.getByRole("button", { name: "Test again" }).click();
  await outcome(page, "failed");
  await expect(page.locator(".diagnosis").first()).toHaveAttribute("data-cause", "smtp_auth_mailbox");
});

test("copy buttons put the value into the clipboard", { tag: "@script" }, async ({ page, demo, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: demo.url });
  await configure(page, demo);
  await open(page, demo.url + CONFIG);
  await page.getByRole("button", { name: "Copy redirect URI" }).first().click();
  await expect(page.getByRole("button", { name: "Copied" })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${demo.url}/web/home/emails/msexchangeonlineoauth`);
});

test.describe("with a support contact", () => {
  test.use({ environment: { ENTREPOST_SUPPORT_CONTACT: "help@demo.example" } });

  test("the evidence holds Microsoft's ids, and the contact stands beside it", async ({ page, demo }) => {
    await configure(page, demo);
    await demo.faults({ token_error: 50076 });
    await connect(page, demo, "admin@demo.example");
    await outcome(page, "failed");
    await page.locator("summary").filter({ hasText: "Technical details" }).first().click();
    for (const fact of ["AADSTS50076", "Trace ID", "Correlation ID"]) await expect(page.locator(".evidence").first()).toContainText(fact);
    await expect(page.getByText("help@demo.example").first()).toBeVisible();
  });
});
