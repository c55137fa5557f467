import { render } from 'preact';
import './styles/base.css';
import './styles/pages.css';
import './styles/meeting.css';
import './styles/panel.css';
import { App } from './ui/App.tsx';

render(<App />, document.getElementById('app')!);
