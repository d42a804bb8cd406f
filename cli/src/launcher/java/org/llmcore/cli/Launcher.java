package org.llmcore.cli;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;

/**
 * Main class of the jar: finds a Java of at least 25, starts `Main` in it with the flags it needs, and waits for it.
 * Compiled for Java 8, so that `java -jar llm-core.jar` works whatever `java` is; written without lambdas, regular expressions
 * and the like, because each costs milliseconds of every start.
 *
 * Standard input and output are the child's own. The virtual machine announces incubator modules on standard error before
 * any line of ours runs, and no option silences it. So on Unix a shell, which then becomes the child itself, keeps the true
 * standard error as descriptor 3 and lends the start a file (`Main` takes descriptor 3 over at once); what the file holds
 * besides that announcement is shown at the end. Where standard error cannot be opened a second time, it passes through
 * `Announcement` instead. The same shell says which descriptors are terminals.
 *
 * Ctrl-C and SIGTERM reach the child, which may end in order; its exit code is ours. If we are killed outright, the child, which
 * knows our number from the shell, notices and ends too (`Orphan`).
 */
public final class Launcher {
  private static final int OLDEST = 25;
  private static final int USAGE = 2;

  /** $1 the file lent as standard error or nothing, $2 java, the rest its arguments. */
  private static final String SHELL =
      "notes=$1; java=$2; shift 2; t=; c=\n"
          + "[ -t 0 ] && t=0; [ -t 1 ] && t=${t}1; [ -t 2 ] && t=${t}2\n"
          + "[ -t 2 ] && c=$(stty size <&2 2>/dev/null) && c=${c#* }\n"
          + "[ -n \"$notes\" ] && exec 3>&2 2>\"$notes\" && set -- -Dllm.stderr=/dev/fd/3 \"$@\"\n"
          + "exec \"$java\" -Dllm.terminals=$t -Dllm.columns=$c -Dllm.launcher=$PPID \"$@\"";

  /** What is passed on of our own virtual machine's options: memory, and properties of this program. */
  private static final List<String> PASSED =
      Arrays.asList("-Xmx", "-Xms", "-Xss", "-XX:MaxDirectMemorySize=", "-XX:MaxRAMPercentage=", "-Dllm.");

  private Launcher() {}

  /** Runs the command line given and ends this process with the child's exit code. */
  public static void main(String[] arguments) throws IOException, InterruptedException, URISyntaxException {
    Map<String, String> environment = System.getenv();
    File jar = new File(Launcher.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    String wish = environment.get("LLM_JAVA_HOME");
    File home = wish == null || wish.trim().isEmpty() ? null : new File(wish.trim());
    if (home != null && !JavaHomes.suits(home, OLDEST)) {
      refuse("LLM_JAVA_HOME is " + home + ", which is not a Java " + OLDEST + " or newer with the module jdk.incubator.vector.");
    }
    if (home == null) {
      File running = new File(System.getProperty("java.home"));
      home = new JavaHomes(environment, new File("/"), new File(System.getProperty("user.home")), jar.getParentFile(), running).find(OLDEST);
    }
    if (home == null) {
      refuse(
          "llm-core needs Java " + OLDEST + " or newer and found none on this machine (this is Java "
              + System.getProperty("java.version") + "); install one, e.g. from https://adoptium.net, or set LLM_JAVA_HOME to its folder.");
    }
    List<String> java = new ArrayList<String>(flags(options(arguments), environment));
    java.add("-cp");
    java.add(jar.getPath());
    java.add("org.llmcore.cli.Main");
    java.addAll(Arrays.asList(arguments));
    System.exit(run(JavaHomes.java(home).getPath(), java, arguments));
  }

  /**
   * Tensors live outside the heap and the compute threads are our own, so the collector with the smallest footprint serves
   * best; -UsePerfData saves a memory-mapped file per start.
   */
  static List<String> flags(List<String> own, Map<String, String> environment) {
    List<String> flags = new ArrayList<String>();
    flags.add("--add-modules");
    flags.add("jdk.incubator.vector");
    flags.add("--enable-native-access=ALL-UNNAMED");
    flags.add("-XX:+UseSerialGC");
    flags.add("-XX:-UsePerfData");
    flags.add("-Xshare:auto");
    flags.add("-Djava.awt.headless=true");
    for (String option : own) {
      for (String passed : PASSED) if (option.startsWith(passed)) flags.add(option);
    }
    String more = environment.get("LLM_JAVA_OPTIONS"); // the last of two that contradict each other counts
    if (more != null) for (String flag : more.trim().split(" ")) if (!flag.isEmpty()) flags.add(flag);
    return flags;
  }

  /**
   * The options that our own virtual machine was given, where the system tells: asking the machine itself would load
   * java.management, 40 milliseconds of every start.
   */
  private static List<String> options(String[] arguments) throws IOException {
    List<String> options = new ArrayList<String>();
    File line = new File("/proc/self/cmdline");
    if (!line.exists()) return options;
    byte[] bytes = Files.readAllBytes(line.toPath());
    int end = ownArguments(bytes, arguments.length);
    for (int from = 0, at = 0; at < end; at++) {
      if (bytes[at] != 0) continue;
      options.add(new String(bytes, from, at - from, Charset.defaultCharset()));
      from = at + 1;
    }
    return options;
  }

  /** Where the last `count` strings of a command line begin, each of which ends with a zero. */
  private static int ownArguments(byte[] line, int count) {
    int start = line.length;
    for (int zeros = 0; start > 0; start--) if (line[start - 1] == 0 && ++zeros > count) break;
    return start;
  }

  private static int run(String java, List<String> rest, String[] arguments) throws IOException, InterruptedException {
    boolean shell = new File("/bin/sh").canExecute();
    final File notes = shell && opensTwice() ? notes() : null;
    List<String> command = new ArrayList<String>();
    if (shell) command.addAll(Arrays.asList("/bin/sh", "-c", SHELL, "llm-core", notes == null ? "" : notes.getPath()));
    command.add(java);
    command.addAll(rest);
    ProcessBuilder builder = new ProcessBuilder(command).inheritIO();
    if (notes == null) builder.redirectError(ProcessBuilder.Redirect.PIPE);
    locale(builder.environment(), arguments);
    final Process child = builder.start();
    final Thread errors = notes == null ? new Announcement(child.getErrorStream(), System.err) : null;
    if (errors != null) errors.start();
    Runtime.getRuntime().addShutdownHook(new Thread() {
      @Override
      public void run() {
        // Ctrl-C reaches the whole group by itself, a SIGTERM only us; on Windows destroy() would not let the child end in order.
        if (File.separatorChar == '/') terminate(child);
        Runtime.getRuntime().halt(await(child, errors, notes));
      }
    });
    return await(child, errors, notes);
  }

  /** SIGTERM; where Java is new enough without closing the child's streams, as `Process.destroy` does: its last words count. */
  private static void terminate(Process child) {
    try {
      Object handle = Process.class.getMethod("toHandle").invoke(child);
      Class.forName("java.lang.ProcessHandle").getMethod("destroy").invoke(handle);
    } catch (ReflectiveOperationException java8) {
      child.destroy();
    }
  }

  private static int await(Process child, Thread errors, File notes) {
    while (true) {
      try {
        int code = child.waitFor();
        if (errors != null) errors.join();
        if (notes != null) show(notes);
        return code;
      } catch (InterruptedException retry) {
        // Only the child's end ends us.
      }
    }
  }

  /**
   * Whether standard error may be opened by name: on macOS that is the same open file, on Linux a second one, which would
   * overwrite a log file from the start, does not work for sockets, nor for a terminal of another user.
   */
  private static boolean opensTwice() {
    if (!new File("/proc/self").exists()) return new File("/dev/fd/2").exists();
    Path error = Paths.get("/proc/self/fd/2");
    try {
      String target = Files.readSymbolicLink(error).toString();
      return (target.startsWith("pipe:") || target.startsWith("/dev/")) && Files.isWritable(error);
    } catch (IOException closed) {
      return false;
    }
  }

  /** The file lent as standard error, or null where none can be written. */
  private static File notes() {
    try {
      return Files.createTempFile("llm-core", ".err").toFile();
    } catch (IOException none) {
      return null;
    }
  }

  /** Shows what the virtual machine had to say before `Main` took over, but for the announcement; once. */
  private static synchronized void show(File notes) {
    if (!notes.isFile()) return;
    try (InputStream in = new FileInputStream(notes)) {
      Announcement.copy(in, System.err);
    } catch (IOException lost) {
      System.err.println("llm-core: cannot read " + notes + ": " + lost.getMessage());
    }
    notes.delete();
  }

  /**
   * Without a locale the C library reads every byte above 127 as a question mark: the child gets UTF-8, and arguments that were
   * damaged on their way to us travel in a variable.
   */
  private static void locale(Map<String, String> environment, String[] arguments) throws IOException {
    String locale = environment.get("LC_ALL");
    if (locale == null || locale.isEmpty()) locale = environment.get("LC_CTYPE");
    if (locale == null || locale.isEmpty()) locale = environment.get("LANG");
    boolean plain = locale == null || locale.isEmpty() || locale.equals("C") || locale.equals("POSIX");
    File line = new File("/proc/self/cmdline");
    if (!plain || !line.exists()) return;
    environment.put("LC_ALL", "C.UTF-8");
    byte[] bytes = Files.readAllBytes(line.toPath());
    int start = ownArguments(bytes, arguments.length);
    boolean damaged = false;
    for (int i = start; i < bytes.length; i++) damaged |= bytes[i] < 0;
    if (damaged) {
      byte[] own = Arrays.copyOfRange(bytes, start, bytes.length);
      environment.put("LLM_ARGUMENTS", new String(Base64.getEncoder().encode(own), StandardCharsets.US_ASCII));
    }
  }

  private static void refuse(String sentence) {
    System.err.println(sentence);
    System.exit(USAGE);
  }
}
