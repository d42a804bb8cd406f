package org.llmcore.data;

import java.util.List;

/// How a model family spells a conversation in tokens. Control tokens enter by id, so nothing a user writes becomes one.
public interface ChatForm {
  /// A whole conversation; learned are the tokens of the turns marked so, each with the EOS that ends it.
  /// @throws org.llmcore.InvalidInput if the family cannot spell this sequence of roles
  Example encode(List<Sample.Turn> turns, String origin);

  /// A conversation whose last turn is the user's, up to where the answer begins.
  /// @throws org.llmcore.InvalidInput if the family cannot spell this sequence of roles
  int[] prompt(List<Sample.Turn> turns);
}
