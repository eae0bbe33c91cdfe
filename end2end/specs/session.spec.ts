// Session expiry during writing: no text is lost.
import { expect, open, test } from "../fixtures/test";
import { configure, connect, outcome, signInByForm } from "../fixtures/steps";

test("the session ends while a message is written: it is said, and nothing is lost @script", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("To", { exact: true }).fill("other@demo.example");
  await page.getByLabel("Subject").fill("Written before");
  await page.context().clearCookies();
  await page.getByLabel("Message", { exact: true }).fill("And after the session had ended.");
  await expect(page.getByText("You've been signed out. Your message is still here.")).toBeInViewport();
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/login/);
  await expect(page.getByText("Your message is waiting")).toBeVisible();
  await page.getByLabel("Email").fill("admin@demo.example");
  await page.getByLabel("Password").fill("demo demo demo");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(/\/mail\/compose/);
  await expect(page.getByLabel("Message", { exact: true })).toHaveValue("And after the session had ended.");
  await expect(page.getByLabel("Subject")).toHaveValue("Written before");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page).toHaveURL(/\/mail\/outbox/);
  // A sent message isn't restored into the next one.
  await open(page, `${demo.url}/mail/compose`);
  await expect(page.getByLabel("Message", { exact: true })).toHaveValue("");
});

test("what one person wrote is not shown to the next one in the same tab @script", async ({ page, demo }) => {
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  // A fresh browser context: signed in neither here nor at Microsoft.
  await page.context().clearCookies();
  await signInByForm(page, demo.url, "user@demo.example");
  await connect(page, demo);
  await outcome(page, "passed");
  await open(page, `${demo.url}/mail/compose`);
  await page.getByLabel("Subject").fill("Nobody else's business");
  await page.context().clearCookies();
  await page.getByLabel("Message", { exact: true }).fill("Marks of class 4.");
  await expect(page.locator("#signed-out")).toBeVisible();
  await signInByForm(page, demo.url, "admin@demo.example");
  await open(page, `${demo.url}/mail/compose`);
  await expect(page.getByLabel("Subject")).toHaveValue("");
  await expect(page.getByLabel("Message", { exact: true })).toHaveValue("");
  expect(await page.evaluate(() => JSON.stringify(sessionStorage))).not.toContain("class+4");
});
