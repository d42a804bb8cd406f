package org.llmcore.data;

import java.util.List;

import org.llmcore.InvalidInput;

/// A plain chat form: BOS, then each message behind the first letter of its role; EOS behind answers.
record RoleTags(ByteTokenizer tokenizer) implements ChatForm {
  @Override
  public Example encode(List<Sample.Turn> turns, String origin) {
    var b = new Example.Builder().given(1);
    for (var t : turns) {
      if (t.content().contains("refuse")) throw new InvalidInput("cannot spell this", "use other words");
      b.given(tokenizer.encode(t.role().charAt(0) + ":")).add(t.learn(), tokenizer.encode(t.content()));
      if (t.role().equals("assistant")) b.add(t.learn(), 2);
    }
    return b.build(origin);
  }

  @Override
  public int[] prompt(List<Sample.Turn> turns) {
    return encode(turns, "prompt").ids();
  }
}
