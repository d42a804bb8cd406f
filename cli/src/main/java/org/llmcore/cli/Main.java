package org.llmcore.cli;

import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Optional;

import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.UnmatchedArgumentException;

import org.llmcore.InvalidInput;
import org.llmcore.Nearest;
import org.llmcore.flags.Flags;

/// The command line: global options, exit codes, and the list of verbs, each of which is one class in this package.
///
/// A verb is a `Callable<Integer>` or `Runnable` with `@ParentCommand Main main`; it speaks through `main.console()` and throws
/// `InvalidInput` for what the user can mend.
@Command(
    name = "llm-core",
    scope = ScopeType.INHERIT,
    mixinStandardHelpOptions = true,
    versionProvider = Main.Version.class,
    synopsisSubcommandLabel = "VERB",
    description = "Fine-tunes, evaluates and runs Llama models on this machine. VERB --help explains a verb, with examples.",
    footer = {"Example:", "  java -jar llm-core.jar train"},
    descriptionHeading = "%n",
    parameterListHeading = "%n",
    optionListHeading = "%n",
    commandListHeading = "%nVerbs:%n",
    footerHeading = "%n",
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {"0:done", "1:a failure of this program (LLM_DEBUG=1 shows the stack trace)", "2:the command line or a file it names cannot be used", "130:interrupted; a training run is saved, of other results nothing is left"},
    subcommands = {Train.class, Generate.class, Eval.class, Plan.class, Merge.class, Quantize.class, Convert.class, Tokenize.class, Detokenize.class, Logits.class, Inspect.class, Bench.class})
public final class Main implements Runnable {
  private final Surroundings surroundings;

  @Option(names = {"-q", "--quiet"}, scope = ScopeType.INHERIT, description = "results and errors only")
  private boolean quiet;

  @Option(names = "--json", scope = ScopeType.INHERIT, description = "results as JSON on standard output, one object a line; all words on standard error")
  private boolean json;

  @Option(
      names = "--color", scope = ScopeType.INHERIT, paramLabel = "WHEN", defaultValue = "auto",
      description = "auto (on a terminal, unless NO_COLOR is set), always, never")
  private Console.Color color = Console.Color.AUTO;

  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  private Optional<Console> console = Optional.empty();

  Main(Surroundings surroundings) {
    this.surroundings = surroundings;
  }

  /// Runs the command line and ends the process with its exit code.
  public static void main(String[] arguments) {
    var surroundings = Surroundings.ofProcess();
    Orphan.watch();
    int code = run(surroundings, given(arguments, Optional.ofNullable(System.getenv("LLM_ARGUMENTS"))));
    surroundings.out().flush();
    System.exit(code);
  }

  /// Runs the command line given and returns its exit code.
  static int run(Surroundings surroundings, List<String> arguments) {
    var main = new Main(surroundings);
    var line = new CommandLine(main);
    line.setCaseInsensitiveEnumValuesAllowed(true);
    line.setUsageHelpWidth(Math.clamp(surroundings.columns(), 80, 120));
    line.setOut(new java.io.PrintWriter(surroundings.out(), true));
    line.setErr(new java.io.PrintWriter(surroundings.err(), true));
    line.setColorScheme(CommandLine.Help.defaultColorScheme(surroundings.outTerminal() && !surroundings.plain() ? Ansi.ON : Ansi.OFF));
    line.setParameterExceptionHandler((e, _) -> main.refuse(e));
    line.setExecutionExceptionHandler((e, _, _) -> main.fail(e));
    try {
      return line.execute(arguments.toArray(String[]::new));
    } catch (Error e) {
      return main.fail(e);
    }
  }

  /// Where the verbs speak, as the global options say.
  Console console() {
    if (console.isEmpty()) console = Optional.of(new Console(surroundings, quiet, json, color));
    return console.get();
  }

  /// Without a verb: what there is.
  @Override
  public void run() {
    spec.commandLine().usage(surroundings.out());
  }

  /// The arguments, or those that the launcher saved from a locale without UTF-8.
  static List<String> given(String[] arguments, Optional<String> saved) {
    if (saved.isEmpty()) return List.of(arguments);
    String joined = new String(Base64.getDecoder().decode(saved.get()), StandardCharsets.UTF_8);
    var whole = List.of(joined.split("\0", -1));
    return whole.subList(0, whole.size() - 1);
  }

  private int fail(Throwable thrown) {
    var failure = Failure.of(thrown);
    if (!failure.message().isEmpty()) console().warn(console().red("error: ") + failure.message());
    if (debug()) thrown.printStackTrace(surroundings.err());
    return failure.code();
  }

  /// A wrong value of LLM_DEBUG asks for something, too.
  private static boolean debug() {
    try {
      return Flags.debug() > 0;
    } catch (InvalidInput wrong) {
      return true;
    }
  }

  private int refuse(ParameterException e) {
    if (e.getCause() instanceof InvalidInput input) return fail(input);
    var message = new StringBuilder(e.getMessage());
    if (e instanceof UnmatchedArgumentException unmatched && !unmatched.getUnmatched().isEmpty()) {
      String word = unmatched.getUnmatched().getFirst();
      message.setLength(0);
      message.append(word.startsWith("-") ? "there is no option " : "there is no verb or argument ").append(word);
      Nearest.to(word, words(e.getCommandLine())).ifPresent(near -> message.append(": did you mean ").append(near).append("?"));
    }
    console().warn(console().red("error: ") + message);
    console().warn("  ---> " + e.getCommandLine().getCommandSpec().qualifiedName() + " --help");
    return Failure.USAGE;
  }

  private static List<String> words(CommandLine line) {
    var words = new java.util.ArrayList<>(line.getSubcommands().keySet());
    words.addAll(line.getCommandSpec().optionsMap().keySet());
    return words;
  }

  /// The version in the manifest of the jar.
  static final class Version implements CommandLine.IVersionProvider {
    @Override
    public String[] getVersion() {
      String version = Main.class.getPackage().getImplementationVersion();
      return new String[] {
        "llm-core " + (version == null ? "(not packaged)" : version),
        "Java " + Runtime.version() + ", " + System.getProperty("os.name") + " " + System.getProperty("os.arch")
      };
    }
  }
}
