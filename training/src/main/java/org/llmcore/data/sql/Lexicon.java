package org.llmcore.data.sql;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/// The words schemas are made of. Every fifth table and every sixth column is kept for test schemas: fine-tuning never sees
/// them. Pre-training meets all words, as the corpus of any language model does, and invented ones besides, so that a model
/// cannot get by without copying; it never meets a schema of the test set, nor SQL.
final class Lexicon {
  /// A kind of thing; tables carry its plural.
  record Noun(String singular, String plural) {}

  /// Where a word may be used.
  enum Split {
    TRAIN,
    TEST,
    ALL
  }

  private static final List<Noun> NOUNS =
      nouns(
          "singer singers, student students, teacher teachers, car cars, house houses, city cities, river rivers, book books, movie movies, song songs, "
              + "player players, team teams, club clubs, doctor doctors, patient patients, nurse nurses, shop shops, product products, order orders, customer customers, "
              + "employee employees, manager managers, office offices, school schools, course courses, exam exams, airport airports, flight flights, pilot pilots, plane planes, "
              + "train trains, station stations, driver drivers, truck trucks, ship ships, captain captains, port ports, island islands, mountain mountains, lake lakes, "
              + "farm farms, farmer farmers, animal animals, horse horses, dog dogs, cat cats, bird birds, fish fishes, tree trees, flower flowers, "
              + "garden gardens, park parks, museum museums, painting paintings, artist artists, actor actors, director directors, theater theaters, concert concerts, band bands, "
              + "album albums, writer writers, poem poems, journal journals, article articles, editor editors, author authors, hotel hotels, guest guests, room rooms, "
              + "restaurant restaurants, chef chefs, recipe recipes, meal meals, drink drinks, bakery bakeries, cake cakes, market markets, seller sellers, buyer buyers, "
              + "bank banks, account accounts, loan loans, card cards, phone phones, laptop laptops, printer printers, server servers, network networks, device devices, "
              + "game games, match matches, coach coaches, stadium stadiums, athlete athletes, medal medals, race races, bike bikes, bus buses, road roads, "
              + "bridge bridges, tower towers, castle castles, king kings, soldier soldiers, battle battles, planet planets, star stars, rocket rockets, mission missions, "
              + "robot robots, factory factories, worker workers, machine machines, tool tools, engine engines, part parts, project projects, task tasks, event events");

  private static final List<String> TEXTS =
      List.of(
          "name", "city", "country", "color", "type", "status", "title", "language", "brand", "category", "owner", "region", "style", "material", "shape",
          "gender", "nationality", "genre", "position", "department", "home_city", "birth_place", "first_name", "last_name", "job_title", "origin", "season", "level",
          "size", "breed", "state", "street", "sponsor", "theme", "format", "model", "main_color", "group_name", "favorite_food", "party");

  private static final List<String> NUMBERS =
      List.of(
          "age", "price", "weight", "height", "year", "salary", "score", "rank", "length", "width", "capacity", "speed", "distance", "population", "area",
          "budget", "cost", "rating", "pages", "seats", "floors", "points", "wins", "losses", "goals", "hours", "days", "credits", "sales", "stock",
          "total_sales", "birth_year", "max_speed", "number_of_rooms", "shoe_size", "duration", "volume", "power", "profit", "visitors");

  private static final List<String> VALUES =
      List.of(
          "france", "spain", "italy", "japan", "brazil", "canada", "india", "china", "kenya", "peru", "red", "blue", "green", "black", "white", "yellow", "gold",
          "paris", "london", "berlin", "tokyo", "madrid", "rome", "oslo", "cairo", "lima", "anna", "tom", "maria", "john", "linda", "peter", "sara", "david", "emma",
          "oak", "iron", "glass", "jazz", "rock", "pop", "drama", "north", "south", "east", "west", "active", "closed", "open", "new", "old", "small", "large",
          "summer", "winter", "spring", "autumn", "alpha", "beta", "delta", "omega", "modern", "classic", "basic", "senior", "junior", "public", "private", "daily");

  private static final String[] ONSETS = {"b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "tr", "st", "pl", "gr", "ch"};
  private static final String[] VOWELS = {"a", "e", "i", "o", "u"};
  private static final String[] CODAS = {"", "n", "r", "l", "s", "t", "m"};

  private static final Map<Split, List<Noun>> TABLES = parts(NOUNS, 5);
  private static final Map<Split, List<String>> TEXT_COLUMNS = parts(TEXTS, 6);
  private static final Map<Split, List<String>> NUMBER_COLUMNS = parts(NUMBERS, 6);

  private Lexicon() {}

  private static List<Noun> nouns(String list) {
    var out = new ArrayList<Noun>();
    for (var pair : list.split(", ")) out.add(new Noun(pair.split(" ")[0], pair.split(" ")[1]));
    return out;
  }

  /// The part of a list for every split, made once: thousands of schemas draw from it.
  private static <T> Map<Split, List<T>> parts(List<T> all, int each) {
    var parts = new EnumMap<Split, List<T>>(Split.class);
    for (var split : Split.values()) {
      var out = new ArrayList<T>();
      for (int i = 0; i < all.size(); i++) if (split == Split.ALL || i % each == each - 1 == (split == Split.TEST)) out.add(all.get(i));
      parts.put(split, List.copyOf(out));
    }
    return parts;
  }

  /// Nouns for tables of a split.
  static List<Noun> tables(Split split) {
    return TABLES.get(split);
  }

  /// Text columns of a split; test schemas mix them with those of training.
  static List<String> texts(Split split) {
    return TEXT_COLUMNS.get(split);
  }

  /// Number columns of a split.
  static List<String> numbers(Split split) {
    return NUMBER_COLUMNS.get(split);
  }

  /// A word for a cell: from the list, or invented.
  static String value(Draw draw) {
    return draw.chance(65) ? draw.pick(VALUES) : word(draw);
  }

  /// An invented word of two or three syllables.
  static String word(Draw draw) {
    var s = new StringBuilder();
    for (int n = 2 + draw.below(2); n > 0; n--) s.append(draw.pick(ONSETS)).append(draw.pick(VOWELS)).append(n == 1 ? draw.pick(CODAS) : "");
    return s.toString();
  }
}
