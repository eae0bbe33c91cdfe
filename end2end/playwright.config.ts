import { existsSync } from "node:fs";
import { defineConfig } from "@playwright/test";
import type { Options } from "./fixtures/test";

// The same browser engine without the parts of a window: a third faster.
const headless = "/usr/bin/chromium-headless-shell";
const browser = process.env.ENTREPOST_CHROMIUM ?? (existsSync(headless) ? headless : "/usr/bin/chromium");

// Each test runs with and without JavaScript, unless its tag limits it to one.
export default defineConfig<Options>({
  testDir: "specs",
  outputDir: "results",
  fullyParallel: true,
  workers: 2,
  retries: 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  forbidOnly: !!process.env.CI,
  reporter: [["list"]],
  projects: [
    { name: "script", grepInvert: /@plain/ },
    { name: "plain", use: { script: false }, grepInvert: /@script/, testIgnore: ["accessibility.spec.ts", "states.spec.ts", "demo.spec.ts", "portal.spec.ts"] },
  ],
  use: {
    browserName: "chromium",
    viewport: { width: 1280, height: 900 },
    screenshot: "only-on-failure",
    // A trace of each failure: ENTREPOST_TRACE=1. Recording it takes a quarter of the time.
    trace: process.env.ENTREPOST_TRACE ? "retain-on-failure" : "off",
    launchOptions: {
      executablePath: browser,
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
});
