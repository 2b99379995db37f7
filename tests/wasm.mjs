// SPDX-License-Identifier: MIT
/*
 * wasm.mjs - run a program that was compiled for WASI
 *
 *	node --no-warnings tests/wasm.mjs PROGRAM.wasm ARGUMENT...
 *
 * It has the standard streams and the environment, and no files. The exit status is the program's.
 */
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

const args = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args, env: process.env, returnOnExit: true });
const imports = { wasi_snapshot_preview1: wasi.wasiImport };
const { instance } = await WebAssembly.instantiate(await readFile(args[0]), imports);

process.exitCode = wasi.start(instance);
