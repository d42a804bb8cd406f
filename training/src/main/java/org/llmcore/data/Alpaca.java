package org.llmcore.data;

/// The two prompts Stanford Alpaca published (`train.py`, `PROMPT_DICT`); the answer follows the last colon.
public final class Alpaca {
  private Alpaca() {}

  /// @param input empty where the instruction stands alone
  public static String prompt(String instruction, String input) {
    return input.isEmpty()
      ? "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        + "### Instruction:\n" + instruction + "\n\n### Response:"
      : "Below is an instruction that describes a task, paired with an input that provides further context. "
        + "Write a response that appropriately completes the request.\n\n"
        + "### Instruction:\n" + instruction + "\n\n### Input:\n" + input + "\n\n### Response:";
  }
}
