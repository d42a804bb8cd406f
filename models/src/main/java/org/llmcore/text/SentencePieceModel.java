package org.llmcore.text;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.llmcore.InvalidInput;

/// The contents of a `tokenizer.model`: SentencePiece's `ModelProto`, as far as encoding and decoding depend on it.
///
/// | message, field                   | number | here                     | default in the format |
/// |----------------------------------|--------|--------------------------|-----------------------|
/// | ModelProto.pieces                | 1      | `pieces` (text 1, score 2, type 3) | type normal |
/// | ModelProto.trainer_spec          | 2      | see below                |                       |
/// | TrainerSpec.model_type           | 3      | must be 2 (BPE)          | 1 (unigram)           |
/// | TrainerSpec.treat_whitespace_as_suffix | 24 | `suffixSpace`          | false                 |
/// | TrainerSpec.byte_fallback        | 35     | `byteFallback`           | false                 |
/// | TrainerSpec.bos_piece, eos_piece | 46, 47 | `bosPiece`, `eosPiece`   | `<s>`, `</s>`         |
/// | NormalizerSpec.name              | 1      | `normalizer`             |                       |
/// | NormalizerSpec.precompiled_charsmap | 2   | must be empty            |                       |
/// | NormalizerSpec.add_dummy_prefix  | 3      | `dummyPrefix`            | true                  |
/// | NormalizerSpec.remove_extra_whitespaces | 4 | `removeExtraSpaces`    | true                  |
/// | NormalizerSpec.escape_whitespaces | 5     | `escapeSpaces`           | true                  |
///
/// Source: sentencepiece_model.proto of github.com/google/sentencepiece.
record SentencePieceModel(List<Piece> pieces, String normalizer, boolean dummyPrefix, boolean removeExtraSpaces,
    boolean escapeSpaces, boolean suffixSpace, boolean byteFallback, String bosPiece, String eosPiece) {
  private static final int BPE = 2;
  private static final List<String> MODEL_TYPES = List.of("unknown", "unigram", "BPE", "word", "char");

  /// One entry of the vocabulary; its id is its place in the list.
  record Piece(String text, float score, Type type) {
  }

  /// What a piece is, with the format's number for it.
  enum Type {
    NORMAL(1), UNKNOWN(2), CONTROL(3), USER_DEFINED(4), UNUSED(5), BYTE(6);

    private final int number;

    Type(int number) {
      this.number = number;
    }

    int number() {
      return number;
    }
  }

  SentencePieceModel {
    pieces = List.copyOf(pieces);
  }

  /// @param name how error messages call the file
  /// @throws InvalidInput if the bytes are no SentencePiece BPE model, or one that asks for text normalisation
  static SentencePieceModel parse(String name, byte[] bytes) {
    var pieces = new ArrayList<Piece>();
    var trainer = new ProtoReader(name, new byte[0]);
    var normalizer = new ProtoReader(name, new byte[0]);
    var in = new ProtoReader(name, bytes);
    for (int field; (field = in.next()) != 0; ) {
      switch (field) {
        case 1 -> pieces.add(piece(name, pieces.size(), in.message()));
        case 2 -> trainer = in.message();
        case 3 -> normalizer = in.message();
        default -> in.skip();
      }
    }
    if (pieces.isEmpty()) {
      throw new InvalidInput(name + " holds no vocabulary: expected the pieces of a SentencePiece model",
          "check that the file is the tokenizer.model of the checkpoint");
    }
    return new Specs(name).read(trainer, normalizer).model(pieces);
  }

  private static Piece piece(String name, int id, ProtoReader in) {
    String text = "";
    float score = 0;
    long number = 1;
    for (int field; (field = in.next()) != 0; ) {
      switch (field) {
        case 1 -> text = in.string();
        case 2 -> score = in.float32();
        case 3 -> number = in.varint();
        default -> in.skip();
      }
    }
    long wanted = number;
    var type = Arrays.stream(Type.values()).filter(t -> t.number == wanted).findFirst();
    if (text.isEmpty() || type.isEmpty() || Float.isNaN(score)) {
      throw new InvalidInput(name + ": piece " + id + " is unusable (text '" + InvalidInput.brief(text) + "', type " + number + ", score " + score + ")");
    }
    return new Piece(text, score, type.get());
  }

  /// The file's bytes, as the SentencePiece library reads them.
  byte[] toBytes() {
    var out = new ProtoWriter();
    for (var piece : pieces) {
      out.message(1, new ProtoWriter().string(1, piece.text).float32(2, piece.score).varint(3, piece.type.number));
    }
    out.message(2, new ProtoWriter().varint(3, BPE).varint(4, pieces.size()).bool(24, suffixSpace).bool(35, byteFallback)
        .string(46, bosPiece).string(47, eosPiece));
    out.message(3, new ProtoWriter().string(1, normalizer).bool(3, dummyPrefix).bool(4, removeExtraSpaces).bool(5, escapeSpaces));
    return out.toBytes();
  }

  /// The two settings messages while they are read; a later one of the same kind wins, as the format wants it.
  private static final class Specs {
    private final String name;
    private long modelType = 1;
    private boolean suffixSpace;
    private boolean byteFallback;
    private String bosPiece = "<s>";
    private String eosPiece = "</s>";
    private String normalizer = "";
    private boolean mapped;
    private boolean dummyPrefix = true;
    private boolean removeExtraSpaces = true;
    private boolean escapeSpaces = true;

    Specs(String name) {
      this.name = name;
    }

    Specs read(ProtoReader trainerSpec, ProtoReader normalizerSpec) {
      for (int field; (field = trainerSpec.next()) != 0; ) {
        switch (field) {
          case 3 -> modelType = trainerSpec.varint();
          case 24 -> suffixSpace = trainerSpec.bool();
          case 35 -> byteFallback = trainerSpec.bool();
          case 46 -> bosPiece = trainerSpec.string();
          case 47 -> eosPiece = trainerSpec.string();
          default -> trainerSpec.skip();
        }
      }
      for (int field; (field = normalizerSpec.next()) != 0; ) {
        switch (field) {
          case 1 -> normalizer = normalizerSpec.string();
          case 2 -> mapped = normalizerSpec.message().next() != 0;
          case 3 -> dummyPrefix = normalizerSpec.bool();
          case 4 -> removeExtraSpaces = normalizerSpec.bool();
          case 5 -> escapeSpaces = normalizerSpec.bool();
          default -> normalizerSpec.skip();
        }
      }
      return this;
    }

    SentencePieceModel model(List<Piece> pieces) {
      if (modelType != BPE) {
        String type = modelType >= 0 && modelType < MODEL_TYPES.size() ? MODEL_TYPES.get((int) modelType) : "number " + modelType;
        throw new InvalidInput(name + " is a SentencePiece model of type " + type + "; only BPE can be used",
            "Llama models come with a BPE tokenizer.model; check that the file belongs to the model");
      }
      if (mapped) {
        throw new InvalidInput(name + " asks for the text normalisation '" + InvalidInput.brief(normalizer) + "'; only 'identity' can be used",
            "a tokenizer.json of the same model, if there is one, may be usable");
      }
      return new SentencePieceModel(pieces, normalizer, dummyPrefix, removeExtraSpaces, escapeSpaces, suffixSpace, byteFallback,
          bosPiece.isEmpty() ? "<s>" : bosPiece, eosPiece.isEmpty() ? "</s>" : eosPiece);
    }
  }
}
