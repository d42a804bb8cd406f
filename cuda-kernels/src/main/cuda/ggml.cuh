// ggml.cuh - how GGML's block types lie in memory (org.llmcore.tensor.BlockType says layout and value of each).
#pragma once
#include "quant.cuh"

enum : int { Q8_0 = 0, Q4_0 = 1, Q4_1 = 2, Q5_0 = 3, Q5_1 = 4, Q4_K = 5, Q5_K = 6, Q6_K = 7 };   // ordinals of BlockType

template <int TYPE> struct GgmlLayout {
  static constexpr bool SUPER = TYPE >= Q4_K;   // 256 weights a block, else 32
  static constexpr bool FIVE = TYPE == Q5_0 || TYPE == Q5_1, SHIFTED = TYPE == Q4_1 || TYPE == Q5_1;
  static constexpr int BYTES = TYPE == Q8_0 ? 34 : TYPE == Q4_0 ? 18 : TYPE == Q4_1 ? 20 : TYPE == Q5_0 ? 22 : TYPE == Q5_1 ? 24 : TYPE == Q4_K ? 144 : TYPE == Q5_K ? 176 : 210;
  static constexpr int HEAD = SHIFTED ? 4 : 2;   // bytes before the codes, or the fifth bits, of a block of 32

  // The 6-bit scale and minimum of 32 weights.
  static MEMBER void scales(const unsigned char* at, int j, float& scale, float& least) {
    const int s = j < 4 ? at[j] & 63 : (at[j + 4] & 15) | at[j - 4] >> 6 << 4, m = j < 4 ? at[j + 4] & 63 : at[j + 4] >> 4 | at[j] >> 6 << 4;
    scale = (float)s, least = (float)m;
  }
};
