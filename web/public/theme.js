// Sets the theme before the first paint: the stored choice, else what the system asks for.
(function () {
  var choice = null;
  try { choice = localStorage.getItem('sluice-theme'); } catch (e) { /* storage is off: follow the system */ }
  if (choice !== 'light' && choice !== 'dark') choice = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  document.documentElement.dataset.theme = choice;
  document.documentElement.dataset.mantineColorScheme = choice;
})();
