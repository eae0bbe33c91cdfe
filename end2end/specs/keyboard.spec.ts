// Keyboard only, from sign-in to the connected mailbox.
import type { Locator, Page } from "@playwright/test";
import { expect, open, test } from "../fixtures/test";
import { ACCOUNT, CONFIG, outcome, PASSWORD, AT_MICROSOFT, comeBack } from "../fixtures/steps";

/** Presses Tab until the control has the focus, and it shows that it has. */
async function tabTo(page: Page, control: Locator): Promise<void> {
  await expect(control).toBeVisible();
  for (let tabs = 0; tabs < 80; tabs++) {
    if (await control.evaluate((element) => element === document.activeElement)) {
      const ring = await control.evaluate((element) => getComputedStyle(element).outlineStyle);
      expect(ring, "the focus is visible").not.toBe("none");
      return;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not lead to ${control}`);
}

async function type(page: Page, label: string, text: string): Promise<void> {
  await tabTo(page, page.getByLabel(label, { exact: true }));
  await page.keyboard.type(text);
}

async function press(page: Page, button: string): Promise<void> {
  await tabTo(page, page.getByRole("button", { name: button, exact: true }));
  await page.keyboard.press("Enter");
}

test("the keyboard alone suffices for configuring, connecting and the list of people", async ({ page, demo }) => {
  const app = await demo.registration();
  await open(page, `${demo.url}/login`);
  await type(page, "Email", "admin@demo.example");
  await type(page, "Password", PASSWORD);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Home" })).toBeVisible();

  await open(page, demo.url + CONFIG);
  await type(page, "Email Provider", "MS");
  await type(page, "Client ID", app.client_id);
  await type(page, "Tenant ID", app.tenant_id);
  await type(page, "Client Secret", app.secret_value);
  await press(page, "Save");
  await expect(page.getByText("Microsoft accepted the credentials.").first()).toBeVisible();

  await open(page, demo.url + ACCOUNT);
  await press(page, "Configure & Test");
  // Microsoft's page isn't checked, only the return.
  await page.getByLabel("Email or sign-in name").fill("admin@demo.example");
  await page.getByLabel("Password").fill(AT_MICROSOFT);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Accept" }).press("Enter");
  await comeBack(page);
  await outcome(page, "passed");

  await open(page, `${demo.url}/institution/users`);
  await type(page, "Email", "other@demo.example");
  await press(page, "Invite");
  await expect(page.getByText("other@demo.example is invited.")).toBeVisible();
  await tabTo(page, page.locator('[data-person="other@demo.example"] .who a'));
  await page.keyboard.press("Enter");
  await page.waitForURL(/users\/[0-9a-f-]+$/);
  await press(page, "Change to administrator");
  await expect(page.getByText("other@demo.example is now an administrator.")).toBeVisible();
});
