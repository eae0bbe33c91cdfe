// Sign-in, invitations, roles, disabling.
import { expect, test } from "../fixtures/test";
import { ACCOUNT, configure, connect, outcome, PASSWORD, signInByForm, signOut } from "../fixtures/steps";

const USERS = "/institution/users";

test("wrong user and wrong password get one answer; too many are stopped", async ({ page, demo }) => {
  const attempt = async (address: string) => {
    await page.goto(`${demo.url}/login`);
    await page.getByLabel("Email").fill(address);
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByLabel("Email")).toHaveValue(address);
    return page.locator(".banner").first().innerText();
  };
  expect(await attempt("user@demo.example")).toBe(await attempt("nobody@demo.example"));
  for (let tries = 0; tries < 7; tries++) await attempt("user@demo.example");
  expect(await attempt("user@demo.example")).toContain("Too many attempts");
});

test("an invited person sets a password with the link, once, and gets it by e-mail", async ({ page, demo, newcomer }) => {
  await signInByForm(page, demo.url, "admin@demo.example");
  await page.goto(demo.url + USERS);
  await page.getByLabel("Email", { exact: true }).fill("other@demo.example");
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  await expect(page.getByText("other@demo.example is invited.")).toBeVisible();
  const link = await page.locator(".copyable code").first().innerText();
  expect(link).toContain(`${demo.url}/invitation/`);
  const theirs = async () => (await demo.mails()).find((mail) => mail.mailbox === "other@demo.example" && mail.folder === "INBOX");
  await expect.poll(theirs).toBeTruthy();
  const mail = await theirs();
  expect(mail?.raw.replaceAll("=\r\n", "").replaceAll("=3D", "=")).toContain(link);
  expect(mail?.raw).toContain("notifications@demo.mail.localhost");

  const invited = await newcomer();
  await invited.goto(link);
  await invited.getByLabel("Password", { exact: true }).fill("short");
  await invited.getByLabel("Confirm password").fill("short");
  await invited.getByRole("button", { name: "Set password and sign in" }).click();
  await expect(invited.getByText("Use at least 12 characters.").first()).toBeVisible();
  await invited.getByLabel("Password", { exact: true }).fill("a long enough password");
  await invited.getByLabel("Confirm password").fill("a long enough password");
  await invited.getByRole("button", { name: "Set password and sign in" }).click();
  await expect(invited.getByRole("heading", { name: "Home" })).toBeVisible();
  const used = await invited.goto(link);
  expect(used?.status()).toBe(404);
  await expect(invited.getByText("This link doesn't work")).toBeVisible();
});

test("disabling signs out and forgets the tokens; the last administrator stays", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  const theirs = await newcomer();
  await signInByForm(theirs, demo.url, "user@demo.example");
  await connect(theirs, demo);
  await outcome(theirs, "passed");

  await page.goto(demo.url + USERS);
  const user = page.locator('[data-person="user@demo.example"]');
  await expect(user).toContainText("Connected");
  await user.locator(".who a").click();
  await user.getByRole("button", { name: "Disable" }).click();
  await expect(page.getByText("user@demo.example is disabled.")).toBeVisible();
  await expect(user).toContainText("No mailbox connected.");
  await theirs.goto(demo.url + ACCOUNT);
  await expect(theirs).toHaveURL(/\/login/);
  await expect(theirs.getByText("Forgot your password?")).toBeVisible();
  // After re-enabling, the password still works; the mailbox must be connected again.
  await user.getByRole("button", { name: "Enable" }).click();
  await expect(page.getByText("user@demo.example is enabled.")).toBeVisible();
  await signInByForm(theirs, demo.url, "user@demo.example");
  await theirs.goto(demo.url + ACCOUNT);
  await expect(theirs.getByRole("heading", { name: "Connect your mailbox", exact: true })).toBeVisible();
  await expect(theirs.getByText("Institution Config")).toHaveCount(0);

  const admin = page.locator('[data-person="admin@demo.example"]');
  await page.goto(demo.url + USERS);
  await admin.locator(".who a").click();
  await admin.getByRole("button", { name: "Disable" }).click();
  await expect(page.getByText("This is the last administrator.")).toBeVisible();
  await admin.getByRole("button", { name: "Change to user" }).click();
  await expect(page.getByText("This is the last administrator.")).toBeVisible();
});

test("a changed role ends the session; an administrator can disconnect a mailbox", async ({ page, demo, newcomer }) => {
  await configure(page, demo);
  const theirs = await newcomer();
  await signInByForm(theirs, demo.url, "user@demo.example");
  await connect(theirs, demo);
  await outcome(theirs, "passed");
  await page.goto(demo.url + USERS);
  const user = page.locator('[data-person="user@demo.example"]');
  await user.locator(".who a").click();
  await user.getByText("Disconnect user@demo.example").click();
  await user.getByRole("button", { name: "Yes, disconnect" }).click();
  await expect(page.getByText("user@demo.example is disconnected.")).toBeVisible();
  await page.goto(demo.url + USERS);
  await user.locator(".row-menu summary").click();
  await user.getByText("Change user@demo.example").click();
  await user.getByRole("button", { name: "Change to administrator" }).click();
  await expect(page.getByText("user@demo.example is now an administrator.")).toBeVisible();
  await theirs.goto(demo.url);
  await expect(theirs).toHaveURL(/\/login/);
});

test("sign-in returns to the page that was asked for, and to no other site", async ({ page, demo }) => {
  await page.goto(demo.url + ACCOUNT);
  await expect(page).toHaveURL(/\/login\?next=/);
  await page.getByLabel("Email").fill("user@demo.example");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(demo.url + ACCOUNT);
  await signOut(page);
  await page.goto(`${demo.url}/login?next=//evil.example`);
  await page.getByLabel("Email").fill("user@demo.example");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page).toHaveURL(`${demo.url}/`);
});

test("the keyboard alone suffices for signing in, the menu and signing out", async ({ page, demo }) => {
  await page.goto(`${demo.url}/login`);
  await page.getByLabel("Email").focus();
  await page.keyboard.type("user@demo.example");
  await page.keyboard.press("Tab");
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Home" })).toBeVisible();
  await page.locator(".user-button").focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: "Sign out" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("button", { name: "Sign out" })).toBeHidden();
  await page.keyboard.press("Enter");
  for (let tabs = 0; tabs < 6 && !(await page.getByRole("button", { name: "Sign out" }).evaluate((button) => button === document.activeElement)); tabs++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(page.getByText("You are signed out.")).toBeVisible();
});
