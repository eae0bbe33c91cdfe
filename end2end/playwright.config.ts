import { defineConfig } from "@playwright/test";
import type { Options } from "./fixtures/test";

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
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.ENTREPOST_CHROMIUM ?? "/usr/bin/chromium",
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
