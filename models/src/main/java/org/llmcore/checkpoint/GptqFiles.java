package org.llmcore.checkpoint;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.GptqConfig.Version;
import org.llmcore.checkpoint.Safetensors.Entry;
import org.llmcore.checkpoint.Safetensors.Item;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;

/// The tensors of quantized layers in a GPTQ checkpoint. In place of `<name>.weight` (outputs, inputs) stand
///
/// | tensor           | shape                   | dtype        | holds                                                      |
/// |------------------|-------------------------|--------------|------------------------------------------------------------|
/// | `<name>.qweight` | (inputs·b/32, outputs)  | I32          | codes q (`GptqPacking`)                                    |
/// | `<name>.qzeros`  | (groups, outputs·b/32)  | I32          | z − 1 (v1) or z (v2)                                       |
/// | `<name>.scales`  | (groups, outputs)       | F16 BF16 F32 |                                                            |
/// | `<name>.g_idx`   | (inputs)                | I32          | group of each input; may be absent where it is i / group   |
/// | `<name>.bias`    | (outputs)               | any floating | zeros, which early programs wrote, or absent               |
///
///     w[o,i] = scale[g,o] · (q[o,i] − z[g,o])        g = g_idx[i]
///
/// Versions are told apart by the numbers where possible, because labels have been wrong: zeros of a symmetric grid are all 2ᵇ⁻¹,
/// so stored zeros that are all 2ᵇ⁻¹ − 1 are v1 and all 2ᵇ⁻¹ are v2, whatever the label says, and whether or not it says that the
/// grid is symmetric. For other grids the label counts; both readings differ by one whole scale, so weights whose mean is off by one
/// are remarked upon, and decide where two labels contradict each other.
public record GptqFiles(Map<String, Entry> entries, GptqConfig config, Version version, List<String> notes) {
  private static final String QWEIGHT = ".qweight";
  private static final int LOOKED_AT = 4;

  /// Decides the version of the checkpoint's zeros.
  /// @throws InvalidInput if no layer is quantized
  public static GptqFiles of(Map<String, Entry> entries, GptqConfig config) {
    var layers = entries.keySet().stream().filter(n -> n.endsWith(QWEIGHT))
        .map(n -> n.substring(0, n.length() - QWEIGHT.length())).toList();
    if (layers.isEmpty())
        throw new InvalidInput("the configuration says GPTQ, but no tensor is named *" + QWEIGHT,
        "give the files that belong to it");
    if (entries.containsKey("lm_head" + QWEIGHT))
        throw new InvalidInput("lm_head is quantized", "only the blocks' layers may be");
    var notes = new ArrayList<String>();
    var version = new GptqFiles(entries, config, config.version(), List.of()).decide(layers, notes);
    return new GptqFiles(entries, config, version, List.copyOf(notes));
  }

  /// Whether a layer is quantized.
  public boolean has(String layer) {
    return entries.containsKey(layer + QWEIGHT);
  }

  private Version decide(List<String> layers, List<String> notes) {
    var alike = new EnumMap<Version, Integer>(Version.class); // layers whose zeros are all those of a symmetric grid
    for (var layer : layers) uniform(layer).ifPresent(v -> alike.merge(v, 1, Integer::sum));
    boolean many = config.symmetric() || alike.values().stream().anyMatch(n -> 2 * n >= layers.size());
    if (alike.size() == 1 && many) return said(alike.keySet().iterator().next(), "the zeros are those of", notes);
    if (config.symmetric()) {
      notes.add("the zeros are not those of a symmetric grid, as the configuration says; read as its format " + config.version()
          .label() + " asks");
    }
    var off = meanOff(layers);
    if (off.isEmpty()) return config.version();
    if (!config.agreed()) return said(off.getAsDouble() > 0.5 ? Version.V1 : Version.V2, "the weights are those of", notes);
    double distance = off.getAsDouble() - config.version().offset();
    boolean v1 = config.version() == Version.V1;
    if (v1 ? distance < -0.75 : distance > 0.75) {
      notes.add(("the weights lie %.2f scales off 0 on average: the files may be of format %s"
          + " although the configuration says %s;"
          + " if the model talks nonsense, change checkpoint_format")
          .formatted(distance, (v1 ? Version.V2 : Version.V1).label(), config.version().label()));
    }
    return config.version();
  }

  private Version said(Version found, String why, List<String> notes) {
    if (!config.agreed()) {
      notes.add("config.json and %s name different formats, %s %s; read as %s".formatted(GptqConfig.FILE, why, found.label(), found.label()));
    } else if (found != config.version()) {
      notes.add("the configuration says format %s, %s %s; read as %s".formatted(config.version().label(), why, found.label(), found.label()));
    }
    return found;
  }

  /// The version in which a layer's zeros are all those of a symmetric grid.
  private Optional<Version> uniform(String layer) {
    int bits = config.mixed() ? bitsByHeight(layer) : config.bits();
    var zeros = stored(layer, bits);
    for (var v : Version.values()) {
      int centre = (1 << bits - 1) - v.offset();
      if (zeros.length > 0 && Arrays.stream(zeros).allMatch(z -> z == centre)) return Optional.of(v);
    }
    return Optional.empty();
  }

  /// How far codes lie above stored zeros on average: near 1 in v1, near 0 in v2. Looks at a few layers, for codes are many.
  private OptionalDouble meanOff(List<String> layers) {
    int step = Math.max(1, layers.size() / LOOKED_AT);
    return IntStream.range(0, layers.size()).filter(i -> i % step == 0).limit(LOOKED_AT).mapToObj(i -> off(layers.get(i)))
        .flatMapToDouble(OptionalDouble::stream).average();
  }

  private OptionalDouble off(String layer) {
    int bits = config.mixed() ? bitsByHeight(layer) : config.bits();
    if (bits < 1 || shape(layer + QWEIGHT).length != 2) return OptionalDouble.empty(); // `read` says what is wrong
    int[] words = ints(layer + QWEIGHT);
    int outputs = shape(layer + QWEIGHT)[1];
    long inputs = words.length / Math.max(1, outputs) * 32L / bits;
    var zeros = stored(layer, bits);
    if (zeros.length == 0 || inputs == 0 || words.length != inputs * bits / 32 * outputs) return OptionalDouble.empty();
    double q = 0;
    for (byte code : GptqPacking.codes(bits, words, outputs, (int) inputs)) q += code & 0xff;
    return OptionalDouble.of(q / (inputs * outputs) - Arrays.stream(zeros).average().orElseThrow());
  }

  private int bitsByHeight(String layer) {
    var scales = shape(layer + ".scales");
    var zeros = shape(layer + ".qzeros");
    return scales.length == 2 && zeros.length == 2 && scales[1] > 0 ? Math.toIntExact(32L * zeros[1] / scales[1]) : 0;
  }

  private int[] stored(String layer, int bits) {
    var shape = shape(layer + ".qzeros");
    long outputs = shape.length == 2 && bits > 0 ? 32L * shape[1] / bits : -1;
    if (outputs < 0 || outputs * bits != 32L * shape[1]) throw wrong(layer + ".qzeros", "zeros of " + bits + " bits");
    return GptqPacking.zeros(bits, ints(layer + ".qzeros"), shape[0], (int) outputs);
  }

  /// How a layer is held.
  /// @param size inputs per group
  /// @param scales F16, or F32 where the file's scales are wider
  /// @param groupOf the group of each input, where it is not i / size
  public record Spec(int bits, int size, int groups, DType scales, Optional<int[]> groupOf) {}

  /// Checks the tensors of a layer of that shape; takes no memory by what they claim.
  /// @throws InvalidInput naming the tensor that is missing or does not fit
  public Spec spec(String layer, int outputs, int inputs) {
    int bits = bits(layer, outputs, inputs);
    var scales = entry(layer + ".scales");
    int groups = scales.shape().length == 2 ? scales.shape()[0] : -1;
    int size = size(layer, inputs, groups);
    if (groups != Grouped.groups(inputs, size)) {
      throw wrong(layer + ".scales", "(" + Grouped.groups(inputs, size) + ", " + outputs + ") for groups of " + size + " among "
          + inputs + " inputs");
    }
    expect(layer + ".scales", groups, outputs);
    if (outputs * (long) bits % 32 != 0)
        throw wrong(layer + ".qzeros", "outputs that fill whole words; " + outputs + " of " + bits + " bits do not");
    expect(layer + ".qzeros", groups, GptqPacking.words(bits, outputs));
    bias(layer);
    return new Spec(bits, size, groups, scales.dtype().equals("F16") ? DType.F16 : DType.F32,
        groupOf(layer, inputs, groups, size));
  }

  /// Inputs per group: of the sizes that the configuration names the first that gives as many groups, and as `g_idx` has them.
  private int size(String layer, int inputs, int groups) {
    if (groups == 1) return inputs;
    var sizes = IntStream.concat(IntStream.of(config.group()), config.groups().stream().mapToInt(g -> g))
        .map(g -> g < 0 ? inputs : Math.min(g, inputs)).toArray();
    var fit = Arrays.stream(sizes).filter(s -> Grouped.groups(inputs, s) == groups).distinct().toArray();
    if (fit.length > 1) {
      var plain = Arrays.stream(fit).filter(s -> groupOf(layer, inputs, groups, s).isEmpty()).findFirst();
      if (plain.isPresent()) return plain.getAsInt();
    }
    return fit.length > 0 ? fit[0] : sizes[0];
  }

  /// The codes of a layer of that shape.
  /// @throws InvalidInput naming the tensor that is missing or does not fit
  public GroupedCodes read(String layer, int outputs, int inputs) {
    var spec = spec(layer, outputs, inputs);
    var scales = entry(layer + ".scales").toFloats();
    for (float s : scales) if (!Float.isFinite(s)) throw wrong(layer + ".scales", "finite numbers, not " + s);
    var zeros = zeros(layer, spec, outputs);
    var q = GptqPacking.codes(spec.bits, ints(layer + QWEIGHT), outputs, inputs);
    return new GroupedCodes(
        spec.bits, outputs, inputs, spec.size, q, transposed(scales, spec.groups, outputs),
            transposed(zeros, spec.groups, outputs), spec.groupOf);
  }

  /// The zeros z (groups, outputs) of a layer.
  public int[] zeros(String layer, Spec spec, int outputs) {
    var zeros = GptqPacking.zeros(spec.bits, ints(layer + ".qzeros"), spec.groups, outputs);
    for (int i = 0; i < zeros.length; i++) zeros[i] += version.offset();
    return zeros;
  }

  private int bits(String layer, int outputs, int inputs) {
    var shape = shape(layer + QWEIGHT);
    if (shape.length == 2 && shape[1] == outputs) {
      for (int b : config.mixed() ? new int[] {2, 3, 4, 8} : new int[] {config.bits()}) if (32L * shape[0] == (long) b * inputs)
          return b;
    }
    throw wrong(layer + QWEIGHT, "codes of " + config.bits() + " bits for " + outputs + " outputs and " + inputs + " inputs");
  }

  private Optional<int[]> groupOf(String layer, int inputs, int groups, int size) {
    var name = layer + ".g_idx";
    if (!entries.containsKey(name)) {
      if (config.actOrder() && !config.staticGroups() && groups > 1)
          throw new InvalidInput("the files lack the tensor " + name, "desc_act needs it; download them again");
      return Optional.empty();
    }
    expect(name, inputs);
    var g = ints(name);
    boolean plain = true;
    for (int i = 0; i < inputs; i++) {
      // A single group is meant by any index that early programs wrote for it.
      if (groups > 1 && (g[i] < 0 || g[i] >= groups)) throw wrong(name, "groups 0 … " + (groups - 1) + ", not " + g[i]);
      plain &= groups == 1 || g[i] == i / size;
    }
    return plain ? Optional.empty() : Optional.of(g);
  }

  private void bias(String layer) {
    if (!entries.containsKey(layer + ".bias")) return;
    for (float b : entry(layer + ".bias").toFloats()) {
      if (b != 0) throw new InvalidInput("tensor " + layer + ".bias is not zero", "linear layers with bias are not supported");
    }
  }

  private Entry entry(String name) {
    var e = entries.get(name);
    if (e == null) throw new InvalidInput("the files lack the tensor " + name,
        "a GPTQ layer has qweight, qzeros and scales; download them again");
    return e;
  }

  private int[] shape(String name) {
    return entry(name).shape();
  }

  private int[] ints(String name) {
    return entry(name).toInts();
  }

  private void expect(String name, int... shape) {
    if (!Arrays.equals(entry(name).shape(), shape)) throw wrong(name, Arrays.toString(shape).replace('[', '(').replace(']', ')'));
  }

  private InvalidInput wrong(String name, String expected) {
    return new InvalidInput("tensor " + name + " is " + entry(name).describe() + ", expected " + expected,
        "configuration and weights must belong together");
  }

  private static float[] transposed(float[] x, int rows, int columns) {
    var y = new float[x.length];
    for (int r = 0; r < rows; r++) for (int c = 0; c < columns; c++) y[c * rows + r] = x[r * columns + c];
    return y;
  }

  private static int[] transposed(int[] x, int rows, int columns) {
    var y = new int[x.length];
    for (int r = 0; r < rows; r++) for (int c = 0; c < columns; c++) y[c * rows + r] = x[r * columns + c];
    return y;
  }

  /// The lowest zero; in v1, which stores z − 1 unsigned, it must be at least 1.
  public static int leastZero(GroupedCodes c) {
    return Arrays.stream(c.zeros()).min().orElse(1);
  }

  /// The tensors of a layer but its zeros. Scales become f16, as every reader expects.
  /// @throws IllegalArgumentException if the shape fills no whole words
  public static List<Item> write(String layer, GroupedCodes c) {
    int groups = c.scales().length / c.outputs();
    var scales = new short[c.scales().length];
    for (int o = 0; o < c.outputs(); o++) {
      for (int g = 0; g < groups; g++) scales[g * c.outputs() + o] = Float.floatToFloat16(c.scales()[o * groups + g]);
    }
    var indices = c.groupOf().orElseGet(() -> {
      var plain = new int[c.inputs()];
      for (int i = 0; i < plain.length; i++) plain[i] = i / c.groupSize();
      return plain;
    });
    return List.of(
        item(layer + QWEIGHT, GptqPacking.qweight(c.bits(), c.q(), c.outputs(), c.inputs()),
            GptqPacking.words(c.bits(), c.inputs()), c.outputs()),
        Item.of(layer + ".scales", DType.F16, new int[] {groups, c.outputs()}, bytes(MemorySegment.ofArray(scales))),
        item(layer + ".g_idx", indices, c.inputs()));
  }

  /// The `qzeros` of a layer.
  /// @param zeros z (outputs, groups), as `GroupedCodes` has them
  /// @throws IllegalArgumentException if one has no form in this version
  public static Item zeros(String layer, int bits, int[] zeros, int outputs, Version version) {
    int groups = zeros.length / outputs;
    var z = transposed(zeros, outputs, groups);
    for (int i = 0; i < z.length; i++) z[i] -= version.offset();
    return item(layer + ".qzeros", GptqPacking.qzeros(bits, z, groups, outputs), groups, GptqPacking.words(bits, outputs));
  }

  private static Item item(String name, int[] values, int... shape) {
    return Item.of(name, DType.I32, shape, bytes(MemorySegment.ofArray(values)));
  }

  /// Files are written from segments over bytes.
  private static MemorySegment bytes(MemorySegment array) {
    return MemorySegment.ofArray(new byte[Math.toIntExact(array.byteSize())]).copyFrom(array);
  }
}
