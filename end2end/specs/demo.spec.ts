// The demo: Ctrl-C stops both servers, a second start keeps the data.
import { Demo } from "../fixtures/demo";
import { expect, open, test } from "../fixtures/test";
import { CONFIG, configure, connect, outcome } from "../fixtures/steps";

test("Ctrl-C stops both, and a second start keeps the data", async ({ page, demo }) => {
  await configure(page, demo);
  const app = await demo.registration();
  // Icon requests may be cancelled by navigation.
  await page.goto("about:blank");
  expect(await demo.interrupt()).toBe(0);
  await expect(fetch(demo.portal)).rejects.toThrow();
  const again = await Demo.start({}, demo.directory);
  try {
    expect((await again.registration()).client_id).toBe(app.client_id);
    // The session is kept too: the browser is still signed in.
    await page.goto(again.url + CONFIG);
    await expect(page.getByLabel("Client ID", { exact: true })).toHaveValue(app.client_id);
    await expect(page.getByText("Microsoft accepted the credentials.")).toBeVisible();
  } finally {
    await again.interrupt();
  }
});

test("no secret is in anything that the program wrote", async ({ page, demo }) => {
  await configure(page, demo);
  const said = demo.output().split("Sandbox portal")[1];
  const app = await demo.registration();
  expect(said).not.toContain(app.secret_value);
});

test("a copy of program, hash.txt and site runs wherever it lies", async ({ page }) => {
  const demo = await Demo.start({}, await Demo.installed());
  try {
    await page.goto(demo.url);
    expect(await page.evaluate(() => [...document.styleSheets].some((sheet) => sheet.cssRules.length > 0))).toBe(true);
    await expect(page.locator("[data-hydrated]").first()).toBeVisible();
  } finally {
    await page.goto("about:blank");
    await demo.stop();
  }
});

// A separate browser context: requests fail here on purpose, while the server is down.
test("an open inbox goes on after a restart of the server, without a reload", async ({ browser, demo }) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await configure(page, demo);
  await connect(page, demo, "admin@demo.example");
  await outcome(page, "passed");
  await open(page, `${demo.url}/mail/inbox`);
  let reloads = 0;
  page.on("framenavigated", (frame) => (reloads += frame === page.mainFrame() ? 1 : 0));
  await demo.deliver("admin@demo.example", "From: Ann <ann@far.example>\nSubject: Before\n\ntext");
  await expect(page.locator(".mail-row").filter({ hasText: "Before" })).toBeVisible();
  await demo.interrupt();
  const again = await Demo.start({ ENTREPOST_LISTEN: `127.0.0.1:${new URL(demo.url).port}` }, demo.directory);
  try {
    await again.deliver("admin@demo.example", "From: Ann <ann@far.example>\nSubject: Afterwards\n\ntext");
    await expect(page.locator(".mail-row").filter({ hasText: "Afterwards" })).toBeVisible({ timeout: 30_000 });
    expect(reloads).toBe(0);
  } finally {
    await context.close();
    await again.interrupt();
  }
});
