/// Machine code that the engine writes while it runs: no compiler, no native library, no warm-up. Functions take one address, that
/// of a job, and fixed fields at fixed offsets in it.
///
/// Read `Assembler` (instructions), `MachineCode` (bytes become functions), then `GemmTiles`, the first that used them. Only
/// `org.llmcore.cpu` enters.
package org.llmcore.cpu.code;
