package org.llmcore.data;

import java.util.Arrays;

/// A tokenised example and its loss mask.
///
/// | array | length | meaning                                                                                       |
/// |-------|--------|-----------------------------------------------------------------------------------------------|
/// | ids   | n      | token ids                                                                                     |
/// | learn | n      | true where the token is a label the model is trained to predict from the tokens before it     |
///
/// The mask is made together with the ids (`Builder`), never found afterwards by searching for a template's text.
///
/// @param origin file and line it came from, for messages
/// @throws IllegalArgumentException if the lengths differ, there is no token, or the first is learned (nothing predicts it)
public record Example(int[] ids, boolean[] learn, String origin) {
  public Example {
    if (ids.length != learn.length)
      throw new IllegalArgumentException(ids.length + " ids but " + learn.length + " mask entries in " + origin);
    if (ids.length == 0) throw new IllegalArgumentException("no token in " + origin);
    if (learn[0]) throw new IllegalArgumentException("the first token of " + origin + " has no predecessor to be learned from");
  }

  /// Number of tokens.
  public int length() {
    return ids.length;
  }

  /// Number of tokens that carry loss.
  public int learned() {
    int n = 0;
    for (boolean l : learn) if (l) n++;
    return n;
  }

  /// Its first tokens.
  public Example cut(int tokens) {
    return new Example(Arrays.copyOf(ids, tokens), Arrays.copyOf(learn, tokens), origin);
  }

  /// Puts an example together from pieces that are learned and pieces that are not.
  public static final class Builder {
    private int[] ids = new int[64];
    private boolean[] learn = new boolean[64];
    private int length;

    /// Tokens the model is given.
    public Builder given(int... tokens) {
      return add(false, tokens);
    }

    /// Tokens the model is trained to say.
    public Builder learned(int... tokens) {
      return add(true, tokens);
    }

    /// Either of the two.
    public Builder add(boolean learned, int... tokens) {
      int end = Math.addExact(length, tokens.length);
      if (end > ids.length) {
        int grown = (int) Math.min(Integer.MAX_VALUE - 8, Math.max(end, 2L * ids.length));
        ids = Arrays.copyOf(ids, grown);
        learn = Arrays.copyOf(learn, grown);
      }
      System.arraycopy(tokens, 0, ids, length, tokens.length);
      Arrays.fill(learn, length, end, learned);
      length = end;
      return this;
    }

    public Example build(String origin) {
      return new Example(Arrays.copyOf(ids, length), Arrays.copyOf(learn, length), origin);
    }
  }
}
