// AMX without AMX: executes the tile instructions that the engine emits, one trap each.
//
// On a processor without tiles their opcodes raise SIGILL. The handler installed here decodes the instruction at the faulting
// address, executes it on a tile state of the thread's own as Intel's manual defines it (SDM vol. 2, TDPBF16PS, TILELOADD, …; vol. 1,
// ch. 18), and goes on behind it. Any other signal goes to the handler that was there before.
//
// What hardware would refuse is counted as a fault and named: a tile instruction without a configuration, another palette, shapes that
// do not fit. `amx_fault` returns the first sentence.
#define _GNU_SOURCE
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, BYTES = 64 };

typedef struct {
  int configured;
  uint16_t bytes[TILES];
  uint8_t rows[TILES];
  uint8_t data[TILES][ROWS][BYTES];
} state;

static __thread state *tiles; // 8 bytes: static thread-local storage is scarce in a loaded library
static struct sigaction before;
static char fault[200];
static volatile long executed;

static void refuse(const char *sentence, int tile) {
  if (!fault[0]) snprintf(fault, sizeof fault, "%s (tile %d)", sentence, tile);
}

static const int REGISTER[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                 REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

typedef struct {
  int reg, v, rm, is_memory, length;
  uint8_t *base;  // of a memory operand
  int64_t index;  // value of the index register, the pitch
} operands;

static operands decode(const uint8_t *p, const greg_t *g) {
  operands o = {0};
  int r = !(p[1] & 0x80), x = !(p[1] & 0x40), b = !(p[1] & 0x20);
  int modrm = p[4], mod = modrm >> 6, rm = modrm & 7;
  o.reg = (modrm >> 3 & 7) | r << 3;
  o.v = ~p[2] >> 3 & 15;
  o.rm = rm | b << 3;
  o.length = 5;
  if (mod == 3) return o;
  o.is_memory = 1;
  int64_t base;
  if (rm == 4) {
    int sib = p[5];
    o.length = 6;
    int index = (sib >> 3 & 7) | x << 3;
    base = g[REGISTER[(sib & 7) | b << 3]];
    if (index != 4) o.index = (int64_t) g[REGISTER[index]] << (sib >> 6);
  } else {
    base = g[REGISTER[o.rm]];
  }
  if (mod == 1) base += (int8_t) p[o.length++];
  if (mod == 2) {
    int32_t disp;
    memcpy(&disp, p + o.length, 4);
    base += disp;
    o.length += 4;
  }
  o.base = (uint8_t *) base;
  return o;
}

static void configure(const uint8_t *m) {
  if (!tiles) tiles = calloc(1, sizeof *tiles);
  memset(tiles, 0, sizeof *tiles);
  if (m[0] != 1) refuse("LDTILECFG of a palette that is not 1", m[0]);
  for (int t = 0; t < TILES; t++) {
    memcpy(&tiles->bytes[t], m + 16 + 2 * t, 2);
    tiles->rows[t] = m[48 + t];
    if (tiles->bytes[t] > BYTES || tiles->rows[t] > ROWS) refuse("LDTILECFG of a tile larger than 16 rows of 64 bytes", t);
  }
  tiles->configured = 1;
}

static float bf16(const uint8_t *row, int i) {
  uint32_t bits = (uint32_t) ((const uint16_t *) row)[i] << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

// TDPBF16PS: even and odd products in two chains of fused multiply-adds, their sum added; denormals are 0 before and after.
static void multiply(int d, int a, int b) {
  if (d == a || d == b || a == b) refuse("TDPBF16PS of equal tiles", d);
  int n = tiles->bytes[d] / 4, k = tiles->bytes[a] / 4;
  if (tiles->rows[a] != tiles->rows[d] || tiles->rows[b] != k || tiles->bytes[b] != tiles->bytes[d]) refuse("TDPBF16PS of tiles that do not fit", d);
  unsigned control = _mm_getcsr();
  _mm_setcsr(0x9fc0); // flush to zero, denormals are zero, to nearest, no exceptions
  for (int m = 0; m < tiles->rows[d]; m++) {
    float even[ROWS] = {0}, odd[ROWS] = {0};
    for (int i = 0; i < k; i++) {
      float x = bf16(tiles->data[a][m], 2 * i), y = bf16(tiles->data[a][m], 2 * i + 1);
      for (int j = 0; j < n; j++) {
        even[j] = __builtin_fmaf(x, bf16(tiles->data[b][i], 2 * j), even[j]);
        odd[j] = __builtin_fmaf(y, bf16(tiles->data[b][i], 2 * j + 1), odd[j]);
      }
    }
    float *sums = (float *) tiles->data[d][m];
    for (int j = 0; j < n; j++) sums[j] += even[j] + odd[j];
  }
  _mm_setcsr(control);
}

// 0 if this is not an instruction of tiles.
static int execute(const uint8_t *p, const greg_t *g) {
  if (p[0] != 0xc4 || (p[1] & 31) != 2) return 0;
  int op = p[3], pp = p[2] & 3;
  if (op != 0x49 && op != 0x4b && op != 0x5c) return 0;
  operands o = decode(p, g);
  if (op == 0x49 && pp == 0 && o.is_memory) {
    configure(o.base);
    return o.length;
  }
  if (op == 0x49 && pp == 0) { // TILERELEASE
    if (tiles) tiles->configured = 0;
    return o.length;
  }
  if (!tiles || !tiles->configured) {
    refuse("a tile instruction without LDTILECFG", o.reg);
    return o.length;
  }
  int t = o.reg & 7;
  if (op == 0x49 && pp == 3) {
    memset(tiles->data[t], 0, sizeof tiles->data[t]);
  } else if (op == 0x4b && (pp == 3 || pp == 1)) {
    memset(tiles->data[t], 0, sizeof tiles->data[t]);
    for (int r = 0; r < tiles->rows[t]; r++) memcpy(tiles->data[t][r], o.base + r * o.index, tiles->bytes[t]);
  } else if (op == 0x4b && pp == 2) {
    for (int r = 0; r < tiles->rows[t]; r++) memcpy(o.base + r * o.index, tiles->data[t][r], tiles->bytes[t]);
  } else if (op == 0x5c && pp == 2) {
    multiply(t, o.rm & 7, o.v & 7);
  } else {
    return 0;
  }
  return o.length;
}

static void handler(int signal, siginfo_t *info, void *context) {
  ucontext_t *c = context;
  int length = execute((const uint8_t *) c->uc_mcontext.gregs[REG_RIP], c->uc_mcontext.gregs);
  if (length) {
    c->uc_mcontext.gregs[REG_RIP] += length;
    executed++;
  } else if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    sigaction(signal, &before, 0); // the instruction traps again, and the process ends as it would have
  }
}

// From now on this process has tiles.
int amx_begin(void) {
  struct sigaction ours = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  sigemptyset(&ours.sa_mask);
  return sigaction(SIGILL, &ours, &before);
}

// Tile instructions executed so far.
long amx_executed(void) { return executed; }

// What hardware would have refused, or an empty string.
const char *amx_fault(void) { return fault; }
